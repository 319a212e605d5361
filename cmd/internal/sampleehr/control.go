// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sampleehr

import (
	"encoding/json"
	"net/http"
)

// Control is the EHR's remote control, for programs that run it as a process. It is not part of the API.
//
//	POST /faults?set=slow,5xx=0.2     the faults from now on, see ParseFaults
//	POST /step?n=10                   makes changes now
//	GET  /history?id=A5001            all versions of one or all appointments
//	GET  /calls                       counts of requests by endpoint
func (e *EHR) Control() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		f, err := ParseFaults(r.URL.Query().Get("set"))
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		e.SetFaults(f)
		answer(w, f)
	})
	mux.HandleFunc("POST /step", func(w http.ResponseWriter, r *http.Request) {
		n, err := number(r, "n", 1)
		for i := 0; i < n && err == nil; i++ {
			err = e.Step()
		}
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		answer(w, map[string]int{"changes": n})
	})
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		answer(w, e.History(r.URL.Query().Get("id")))
	})
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) { answer(w, e.Calls()) })
	return mux
}

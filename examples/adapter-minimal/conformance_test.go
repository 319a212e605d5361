// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

// The test's binary is also the adapter's program, which the tests start as an engine does.
func TestMain(m *testing.M) { sdktest.Main(m, main) }

const token = "token-of-the-test"

const pageSize = 2

type appointment struct {
	ID          string    `json:"id"`
	PatientID   string    `json:"patientID"`
	LastUpdated time.Time `json:"lastUpdated"`
	Start       time.Time `json:"start"`
}

// newEHR starts a small EHR of the test's own. Several of its appointments were changed in one second, at the end of
// a page and in the last second of all: there an adapter may lose changes.
func newEHR(t *testing.T) string {
	start := time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	changed := func(second int) time.Time { return time.Date(2026, 5, 10, 10, 0, second, 0, time.UTC) }
	appointments := []appointment{
		{"A-3001", "P-9101", changed(1), start}, {"A-3002", "P-9102", changed(2), start}, {"A-3003", "P-9101", changed(2), start},
		{"A-3004", "P-9103", changed(3), start}, {"A-3005", "P-9102", changed(4), start}, {"A-3006", "P-9103", changed(4), start},
		{"A-3007", "P-9101", changed(5), start}, {"A-3008", "P-9103", changed(5), start}, {"A-3009", "P-9102", changed(5), start},
	}
	patients := map[string]string{"P-9101": "Nicole Carter", "P-9102": "Ada Newton", "P-9103": "Grace Lovelace"}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /appointments", func(w http.ResponseWriter, r *http.Request) {
		since, err := time.Parse(time.RFC3339, r.FormValue("since"))
		if err != nil {
			http.Error(w, "since is no instant", http.StatusBadRequest)
			return
		}
		var list []appointment
		for _, a := range appointments {
			if !a.LastUpdated.Before(since) {
				list = append(list, a)
			}
		}
		page, _ := strconv.Atoi(r.FormValue("page")) // none: the first
		from, to := min(page*pageSize, len(list)), min((page+1)*pageSize, len(list))
		answer := map[string]any{"appointments": append([]appointment{}, list[from:to]...)}
		if to < len(list) {
			answer["next"] = strconv.Itoa(page + 1)
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	mux.HandleFunc("GET /patients/{id}", func(w http.ResponseWriter, r *http.Request) {
		name, ok := patients[r.PathValue("id")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"id": r.PathValue("id"), "name": name})
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestConformance(t *testing.T) {
	sdktest.Run(t, sdktest.Options{
		Config: map[string]any{"base_url": newEHR(t), "token": token},
		// What the fetch blocks of a pipeline ask for.
		Refs: func(c sdk.Change) []sdk.Ref {
			var a appointment
			if err := json.Unmarshal(c.Data, &a); err != nil {
				t.Error(err)
			}
			return []sdk.Ref{{Kind: "patient", ID: a.PatientID}}
		},
	})
}

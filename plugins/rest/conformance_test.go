// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, func() {
		rest.SmallParts()
		rest.Serve()
	})
}

const clinicToken = "c4n4ry-token-of-the-clinic"

// clinic is an EHR with appointments, of which several have the same time, and patients. It pages by cursor or by offset.
func clinic(t *testing.T) *httptest.Server {
	type appointment struct {
		ID      string    `json:"id"`
		Updated time.Time `json:"updated"`
		Patient string    `json:"patient"`
		Reason  string    `json:"reason"`
	}
	begin := time.Date(2022, 5, 10, 10, 0, 0, 0, time.UTC)
	var all []appointment
	for i := range 25 {
		all = append(all, appointment{ID: fmt.Sprint("A-", 3000+i), Updated: begin.Add(time.Duration(i/3) * time.Minute),
			Patient: fmt.Sprint("P-", 9100+i%7), Reason: fmt.Sprint("Follow-up after visit no. ", i)})
	}
	all[24].Updated = all[23].Updated
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	since := func(r *http.Request) []appointment {
		at, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
		if err != nil {
			t.Errorf("asked for %s", r.URL.RawQuery)
		}
		return slices.DeleteFunc(slices.Clone(all), func(a appointment) bool { return a.Updated.Before(at) })
	}
	mux.HandleFunc("GET /api/appointments", func(w http.ResponseWriter, r *http.Request) {
		items := since(r)
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		page := map[string]any{"items": items[min(from, len(items)):min(from+10, len(items))]}
		if from+10 < len(items) {
			page["next"] = strconv.Itoa(from + 10)
		}
		answer(w, page)
	})
	mux.HandleFunc("GET /api/linked", func(w http.ResponseWriter, r *http.Request) {
		items := since(r)
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		if from+7 < len(items) {
			q := r.URL.Query()
			q.Set("from", strconv.Itoa(from+7))
			w.Header().Set("Link", "<http://"+r.Host+r.URL.Path+"?"+q.Encode()+`>; rel="next"`)
		}
		answer(w, items[min(from, len(items)):min(from+7, len(items))])
	})
	mux.HandleFunc("GET /api/whole", func(w http.ResponseWriter, r *http.Request) { answer(w, since(r)) }) // comes in parts
	mux.HandleFunc("GET /api/everything", func(w http.ResponseWriter, _ *http.Request) { answer(w, all) })
	mux.HandleFunc("GET /api/patient/{id}", func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(strings.TrimPrefix(r.PathValue("id"), "P-")); err != nil || n < 9100 || n > 9106 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answer(w, map[string]string{"id": r.PathValue("id"), "name": "Nicole Surname of " + r.PathValue("id")})
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+clinicToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestConformance(t *testing.T) {
	server := clinic(t)
	feed := func(name, path, more string) string {
		return `{"name": "` + name + `", "path": "` + path + `", "query": {"since": "{since}"}, "id": "id", "version": "updated", "time": "updated",
			"since": {"format": "2006-01-02T15:04:05Z07:00"}` + more + `}`
	}
	sdktest.Run(t, sdktest.Options{
		Config: `{"base_url": "` + server.URL + `/api", "auth": {"kind": "bearer", "token": "` + clinicToken + `"},
			"feed": [` + feed("appointments", "/appointments", withCursor) + `, ` + feed("linked", "/linked", withLink) + `, ` + feed("whole", "/whole", "") + `],
			"resource": [{"name": "patient", "path": "/patient/{id}"}]}`,
		Refs: func(c sdk.Change) []sdk.Ref {
			var a struct{ Patient string }
			if err := json.Unmarshal(c.Data, &a); err != nil {
				t.Error(err)
			}
			return []sdk.Ref{{Kind: "patient", ID: a.Patient}}
		},
	})
}

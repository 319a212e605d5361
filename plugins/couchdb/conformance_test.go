// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/rounds-engine/rounds/plugins/couchdb"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, couchdb.Serve) }

func TestConformance(t *testing.T) {
	const password = "c4n4ry-password-of-rounds"
	s := newServer(t)
	s.create("ward-visits")
	s.create("patients")
	for i := range 7 {
		s.put("patients", fmt.Sprint("P-", 9100+i), map[string]any{"name": fmt.Sprint("Nicole Surname no. ", i)})
	}
	for i := range 25 {
		s.put("ward-visits", fmt.Sprint("V-", 3000+i), map[string]any{"patient": fmt.Sprint("P-", 9100+i%7), "reason": fmt.Sprint("Follow-up no. ", i)})
	}
	s.put("ward-visits", "V-3003", map[string]any{"patient": "P-9101", "reason": "Changed again"})
	s.put("ward-visits", "V-3004", nil)
	s.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user == "rounds" && pass == password {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	sdktest.Run(t, sdktest.Options{
		Config: `{"base_url": "` + s.URL + `", "auth": {"kind": "basic", "username": "rounds", "password": "` + password + `"},
			"feed": [{"name": "visits", "database": "ward-visits", "page_size": 4}], "resource": [{"name": "patient", "database": "patients"}]}`,
		Refs: func(c sdk.Change) []sdk.Ref {
			var v struct{ Patient string }
			if c.Op == sdk.Deleted || json.Unmarshal(c.Data, &v) != nil {
				return nil
			}
			return []sdk.Ref{{Kind: "patient", ID: v.Patient}}
		},
	})
}

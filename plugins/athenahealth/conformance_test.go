// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, athenahealth.Serve) }

func TestConformance(t *testing.T) {
	const secret = "c4n4ry-secret-of-rounds"
	practice := simulator.New(simulator.Options{ClientID: "rounds-client", Secret: secret})
	for _, feed := range []string{"appointments", "patients", "orders"} {
		practice.Subscribe(feed)
	}
	for i := range 7 {
		practice.Set("patients", fmt.Sprint(9100+i), map[string]any{"lastname": fmt.Sprint("Nicole Surname no. ", i)})
	}
	for i := range 25 {
		practice.Set("appointments", fmt.Sprint(3000+i), map[string]any{
			"patientid": fmt.Sprint(9100 + i%7), "appointmentstatus": "f", "reason": fmt.Sprint("Follow-up no. ", i), "lastmodified": "03/02/2026 10:00:00",
		})
	}
	practice.Set("orders", "12", map[string]any{"patientid": "9101", "description": "Ankle brace, left"})
	server := httptest.NewServer(practice)
	defer server.Close()
	sdktest.Run(t, sdktest.Options{
		Config: map[string]any{
			"environment": "preview", "practice_id": "195900", "client_id": "rounds-client", "client_secret": secret, "base_url": server.URL,
			"page_size": 4, "limits": map[string]any{"per_second": 0},
		},
		Consume: true,
		Refs: func(c sdk.Change) []sdk.Ref {
			var v struct{ PatientID string }
			if json.Unmarshal(c.Data, &v) != nil || v.PatientID == "" {
				return nil
			}
			refs := []sdk.Ref{{Kind: "patient", ID: v.PatientID}}
			if c.Ref.Kind == "order" {
				refs = append(refs, sdk.Ref{Kind: "order", ID: v.PatientID + "/" + c.Ref.ID})
			}
			return refs
		},
	})
}

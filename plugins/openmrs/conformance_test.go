// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/openmrs"
	"github.com/rounds-engine/rounds/plugins/openmrs/simulator"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, openmrs.Serve) }

func TestConformance(t *testing.T) {
	const password = "c4n4ry-password-of-rounds"
	begin := time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)
	events := 0
	s := simulator.New(simulator.Options{Username: "rounds", Password: password, Linked: true,
		Now: func() time.Time { return begin.Add(time.Duration(events/3) * 7 * time.Minute) }}) // three events of each time
	for ; events < 26; events++ {
		s.Save("patient", uuid(9100+events%9), map[string]any{"name": fmt.Sprint("Nicole Surname no. ", events%9)})
		s.Save("encounter", uuid(3000+events), map[string]any{"patient": uuid(9100 + events%9), "note": fmt.Sprint("Follow-up no. ", events)})
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	sdktest.Run(t, sdktest.Options{
		Config: `{"base_url": "` + server.URL + `/openmrs", "auth": {"kind": "basic", "username": "rounds", "password": "` + password + `"},
			"feed": [{"name": "patient"}, {"name": "encounters", "category": "encounter"}],
			"resource": [{"name": "patient"}, {"name": "encounters", "path": "/ws/rest/v1/encounter/{id}?v=custom:(uuid,patient)"}]}`,
	})
}

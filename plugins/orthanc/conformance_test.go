// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/orthanc"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

// The test's binary is the adapter's program.
func TestMain(m *testing.M) { sdktest.Main(m, orthanc.Serve) }

func TestConformance(t *testing.T) {
	s := newServer(t)
	for n := range 12 {
		s.store(fmt.Sprint("P", n/2), fmt.Sprint(n), 1)
		s.store(fmt.Sprint("P", n/2), fmt.Sprint(n), 2)
		s.settle()
		if n%3 != 0 { // some share a second
			s.pass(time.Second)
		}
	}
	sdktest.Run(t, sdktest.Options{Config: map[string]any{"base_url": s.URL, "username": user, "password": password}})
}

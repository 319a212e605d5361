// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package operate_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/operate"
)

const canary = "CanaryOfARecord4711"

type panics struct{ operate.Engine }

func (panics) Status(context.Context) (*operate.Status, error) { panic("can't show " + canary) }

func TestInvariant6ADefectBehindTheSocketShowsNoContent(t *testing.T) {
	var logged bytes.Buffer
	s := httptest.NewUnstartedServer(operate.Handler(panics{}))
	s.Config.ErrorLog = log.New(&logged, "", 0)
	s.Start()
	answer, err := http.Post(s.URL+"/v1/status", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	s.Close() // nothing is logged after it
	if err != nil || answer.StatusCode != http.StatusInternalServerError || !strings.Contains(string(text), "panics.Status") {
		t.Errorf("got %s, %v: %s", answer.Status, err, text)
	}
	if all := string(text) + logged.String(); strings.Contains(all, canary) {
		t.Errorf("the value of the panic is shown: %s", all)
	}
}

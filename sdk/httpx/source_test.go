// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

func TestABaseURLIsAnAddressAndNothingElse(t *testing.T) {
	for address, want := range map[string]string{
		"https://ehr.invalid": "https://ehr.invalid", "http://ehr.invalid:8042/a%2Fb//": "http://ehr.invalid:8042/a%2Fb", "https://[::1]:6984/": "https://[::1]:6984",
		"": "", "c4n4ry": "", "/c4n4ry": "", "https://": "", "https:///c4n4ry": "", "ftp://c4n4ry": "", "https://c4n4ry\n": "", "https://u:c4n4ry@ehr.invalid": "",
		"https://ehr.invalid/?": "", "https://ehr.invalid?a=c4n4ry": "", "https://ehr.invalid#c4n4ry": "",
	} {
		u, err := httpx.BaseURL(address, "https://host")
		var e *sdk.Error
		switch {
		case want == "" && (!errors.As(err, &e) || e.Code != sdk.CodeMisconfigured || e.Path != "base_url" || strings.Contains(err.Error(), "c4n4ry")):
			t.Errorf("%s: %v", address, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%s: %v %v", address, u, err)
		}
	}
}

func TestOnlyCallsOnThisMachineMayBePlain(t *testing.T) {
	for address, want := range map[string]bool{
		"https://ehr.invalid": false, "http://ehr.invalid": true, "http://10.0.0.1": true, "http://localhost:8042": false, "http://127.9.9.9": false, "http://[::1]:1": false,
	} {
		u, err := url.Parse(address)
		if err != nil || httpx.Plain(u) != want {
			t.Errorf("%s: %v %v", address, !want, err)
		}
	}
}

func TestALoadBoundsTheClient(t *testing.T) {
	for path, l := range map[string]*httpx.Load{
		"limits.concurrency": {}, "limits.per_second": {Concurrency: 1, PerSecond: math.NaN()}, "": {Concurrency: 1},
	} {
		var e *sdk.Error
		if err := l.Validate(); path == "" && err != nil || path != "" && (!errors.As(err, &e) || e.Path != path) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	c := (&httpx.Load{Concurrency: 3, PerSecond: 2}).Config(time.Second)
	if c.Timeout != time.Second || c.Concurrency != 3 || c.Limits.PerSecond != 2 {
		t.Errorf("%+v", c)
	}
	client, err := httpx.New((*httpx.Load)(nil).Config(time.Second))
	if err != nil || client.Concurrency() != httpx.DefaultConcurrency {
		t.Error(client.Concurrency(), err)
	}
}

func TestAPageIsNotTheAPIsWordThatThereIsNothing(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   sdk.Code
	}{
		{404, "\n <html>c4n4ry</html>", sdk.CodeRetryable}, {410, "<!doctype html>", sdk.CodeRetryable}, {404, `{"error": "<c4n4ry>"}`, sdk.CodeNotFound},
		{404, "", sdk.CodeNotFound}, {410, "gone", sdk.CodeGone}, {403, "<html>", sdk.CodeForbidden},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		}))
		client, err := httpx.New(httpx.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Do(t.Context(), httpx.Request{URL: s.URL, Template: "/x"})
		if err = httpx.Missing(err); sdk.CodeOf(err) != tt.want || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%d %s: %v", tt.status, tt.body, err)
		}
		s.Close()
	}
	if err := httpx.Missing(nil); err != nil {
		t.Error(err)
	}
}

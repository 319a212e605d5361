// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// TestABodyComesWhole whatever its length, and with its length told or not.
func TestABodyComesWhole(t *testing.T) {
	const most = 20 << 20
	want := make([]byte, most+1)
	for i := range want {
		want[i] = byte(i % 251)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		if r.URL.Path == "/told" {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		}
		w.Write(want[:n])
		if r.URL.Path == "/broken" {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	c := newClient(t, httpx.Config{MaxBody: most})
	for _, path := range []string{"/told", "/untold"} {
		const staged = 513 * 8191 // what is read before
		for _, n := range []int{0, 1, 511, 512, 513, 514, 1537, 4<<20 - 1, 4 << 20, 4<<20 + 1, 4<<20 + 2, staged - 1, staged, staged + 1, staged + 1<<20 - 1,
			staged + 1<<20, 12 << 20, most - 1, most} {
			res, err := c.Do(t.Context(), httpx.Request{URL: s.URL + path + "?n=" + strconv.Itoa(n), Template: "/"})
			if err != nil || !bytes.Equal(res.Body, want[:n]) {
				t.Errorf("%d bytes at %s: %v", n, path, err)
			}
		}
		if _, err := c.Do(t.Context(), httpx.Request{URL: s.URL + path + "?n=" + strconv.Itoa(most+1), Template: "/"}); sdk.CodeOf(err) != sdk.CodePermanent {
			t.Errorf("beyond the bound, at %s: %v", path, err)
		}
	}
	for _, n := range []int{100, 12 << 20} {
		_, err := newClient(t, httpx.Config{Attempts: 1}).Do(t.Context(), httpx.Request{URL: s.URL + "/broken?n=" + strconv.Itoa(n), Template: "/"})
		if sdk.CodeOf(err) != sdk.CodeRetryable || err.Error() != "GET /: connection closed before the answer was complete" {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
}

// A length that is only said takes no memory.
func TestALengthIsBelievedOnceSomethingCame(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(200<<20))
		w.Write(make([]byte, 1000))
	})
	c := newClient(t, httpx.Config{Attempts: 1, MaxBody: 256 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := c.Do(t.Context(), httpx.Request{URL: s.URL, Template: "/"})
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; sdk.CodeOf(err) != sdk.CodeRetryable || taken > 20<<20 {
		t.Errorf("%v, and %d MiB were taken", err, taken>>20)
	}
}

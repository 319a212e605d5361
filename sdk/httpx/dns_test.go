// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// The answers of a DNS server, by RFC 1035.
const (
	found    = 0
	fails    = 2 // SERVFAIL
	notFound = 3 // NXDOMAIN
)

// dnsServer answers each question by what code holds, with the address 127.0.0.1 where there is one to give.
func dnsServer(t *testing.T, code *atomic.Int32) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			// The name of the only question is a chain of labels that an empty one ends; type and class follow.
			end := 12
			for end < n && buf[end] != 0 {
				end += 1 + int(buf[end])
			}
			end += 5
			if end > n {
				continue
			}
			answer := append([]byte(nil), buf[:end]...)
			binary.BigEndian.PutUint16(answer[2:], 0x8180|uint16(code.Load())) // an answer, recursion as wished
			binary.BigEndian.PutUint16(answer[6:], 0)
			binary.BigEndian.PutUint32(answer[8:], 0)
			if code.Load() == found && binary.BigEndian.Uint16(answer[end-4:]) == 1 { // A
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
			}
			_, _ = conn.WriteTo(answer, from) // or nobody asks any more
		}
	}()
	return conn.LocalAddr().String()
}

// TestANameThatIsFoundAgainIsCalled by the next attempt: nothing remembers that it was not found.
func TestANameThatIsFoundAgainIsCalled(t *testing.T) {
	var code atomic.Int32
	dns := dnsServer(t, &code)
	dialer := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", dns)
	}}}
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, httpx.Config{Attempts: 1, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}})
	for _, tt := range []struct {
		code int32
		text string
	}{
		{notFound, "GET /a: DNS lookup failed: no such host"}, {found, ""}, {fails, "GET /a: DNS lookup failed"}, {found, ""},
	} {
		code.Store(tt.code)
		_, err := c.Do(t.Context(), httpx.Request{URL: "http://c4n4ry.ehr.example:" + u.Port() + "/", Template: "/a"})
		switch {
		case tt.text == "" && err == nil:
		case err == nil || err.Error() != tt.text || sdk.CodeOf(err) != sdk.CodeRetryable:
			t.Errorf("code %d: got %v, want %q", tt.code, err, tt.text)
		default:
			wantSafe(t, err)
		}
	}
}

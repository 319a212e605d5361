// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
)

// TestAnotherHostOfTheSamePort: what has the port is this engine itself, so the one address gives way to the other; and takes it back when the
// configuration is not used after all.
func TestAnotherHostOfTheSamePort(t *testing.T) {
	e := New(Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err := e.speak(t.Context(), &config.Web{Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.listen(t.Context(), nil) })
	port := e.listening.socket.Addr().(*net.TCPAddr).Port
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := func(when string) {
		t.Helper()
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", when, resp.Status)
		}
	}
	answers("at first")
	all := &config.Web{Listen: fmt.Sprintf(":%d", port)}
	next, err := e.bind(all, e.listening)
	if err != nil {
		t.Fatal(err)
	}
	e.unbind(next)
	answers("after a configuration that is not used")
	if next, err = e.bind(all, e.listening); err != nil {
		t.Fatal(err)
	}
	e.listen(t.Context(), next)
	answers("at all addresses")
	if next, err = e.bind(&config.Web{Listen: fmt.Sprintf("127.0.0.1:%d", port)}, e.listening); err != nil {
		t.Fatal(err)
	}
	e.listen(t.Context(), next)
	answers("at the first again")
	if _, err = e.bind(&config.Web{Listen: fmt.Sprintf("192.0.2.1:%d", port)}, e.listening); err == nil {
		t.Error("an address of another machine could be had")
	}
	answers("after an address that can't be had")
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/destination"
)

func probe(t *testing.T, typ string, config map[string]any) error {
	t.Helper()
	d := open(t, typ, config)
	defer d.Close()
	return d.(destination.Prober).Probe(t.Context())
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAProbeSendsNothing(t *testing.T) {
	never := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request was sent: %s %s", r.Method, r.URL) })
	plain, secure := httptest.NewServer(never), httptest.NewTLSServer(never)
	defer plain.Close()
	defer secure.Close()
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	got := make(chan int)
	go func() {
		c, err := listening.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 10))
		got <- n
	}()
	dir := t.TempDir()
	there := filepath.Join(dir, "there.jsonl")
	if err := os.WriteFile(there, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		typ    string
		config map[string]any
		want   string // of the error; empty: none
	}{
		"webhook":                  {"webhook", map[string]any{"url": plain.URL}, ""},
		"webhook, nobody":          {"webhook", map[string]any{"url": "http://" + nobody(t) + "/secret-path"}, "connection refused"},
		"webhook, unknown CA":      {"webhook", map[string]any{"url": secure.URL}, "signed by an unknown authority"},
		"webhook, no TLS":          {"webhook", map[string]any{"url": strings.Replace(plain.URL, "http:", "https:", 1)}, "TLS handshake"},
		"mllp":                     {"mllp", map[string]any{"address": listening.Addr().String()}, ""},
		"mllp, nobody":             {"mllp", map[string]any{"address": nobody(t)}, "connection refused"},
		"file":                     {"file", map[string]any{"path": there}, ""},
		"file to be made":          {"file", map[string]any{"path": filepath.Join(dir, "new.jsonl")}, ""},
		"file in no directory":     {"file", map[string]any{"path": filepath.Join(dir, "no", "new.jsonl")}, "no such file or directory"},
		"file that is a directory": {"file", map[string]any{"path": dir}, "not a regular file"},
		"exec":                     {"exec", map[string]any{"command": []string{self}}, ""},
		"exec of nothing":          {"exec", map[string]any{"command": []string{"rounds-no-such-program"}}, "not in PATH"},
		"exec in no directory":     {"exec", map[string]any{"command": []string{self}, "directory": filepath.Join(dir, "no")}, "its directory"},
	} {
		err := probe(t, x.typ, x.config)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
		if err != nil && (strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "secret-path")) {
			t.Errorf("%s: the error tells an address: %v", name, err)
		}
	}
	if n := <-got; n != 0 {
		t.Errorf("%d bytes were sent over MLLP", n)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("a probe left files: %v %v", left, err)
	}
	if data, err := os.ReadFile(there); err != nil || string(data) != "{}\n" {
		t.Errorf("a probe changed the file: %q %v", data, err)
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package operate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/operate"
)

// fake is an engine of which a test says what some calls do.
type fake struct {
	operate.Engine
	poll   func(context.Context) error
	backup func(io.Writer) error
}

func (f *fake) Poll(ctx context.Context, _ string) (*operate.Polled, error) {
	if err := f.poll(ctx); err != nil {
		return nil, err
	}
	return &operate.Polled{New: 7}, nil
}

func (f *fake) Backup(_ context.Context, w io.Writer) error { return f.backup(w) }

// served is a client of an engine that is served on the socket of a directory.
func served(t *testing.T, e operate.Engine) (*operate.Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "op") // whose path is short, unlike t.TempDir's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := operate.Serve(e, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, operate.SocketName)); err == nil {
			t.Error("the socket is left")
		}
	})
	c, err := operate.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestErrorsKeepTheirKindsAndTexts(t *testing.T) {
	e := &fake{}
	c, _ := served(t, e)
	kinds := []error{operate.ErrNotFound, operate.ErrNotRunning, operate.ErrSuperseded, operate.ErrInvalid, nil}
	for i, kind := range kinds {
		e.poll = func(context.Context) error { return &operate.Error{Kind: kind, Text: "what to do"} }
		_, err := c.Poll(t.Context(), "p")
		if err == nil || err.Error() != "what to do" || kind != nil && !errors.Is(err, kind) {
			t.Errorf("%v came as %v", kind, err)
		}
		for j, other := range kinds {
			if i != j && other != nil && errors.Is(err, other) {
				t.Errorf("%v came as %v", kind, other)
			}
		}
	}
	var actor string
	e.poll = func(ctx context.Context) error { actor = operate.Actor(ctx); return nil }
	if p, err := c.Poll(t.Context(), "p"); err != nil || p.New != 7 {
		t.Errorf("%+v %v", p, err)
	}
	if !strings.HasPrefix(actor, "admin socket") {
		t.Errorf("the engine is asked by %q", actor)
	}
	gone, cancel := context.WithCancel(t.Context())
	e.poll = func(ctx context.Context) error { // an engine learns that nobody waits any more
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	if _, err := c.Poll(gone, "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("whoever does not wait gets %v", err)
	}
}

func TestABackupIsWholeOrAnError(t *testing.T) {
	e := &fake{}
	c, _ := served(t, e)
	data := bytes.Repeat([]byte("state"), 100_000)
	for _, x := range []struct {
		backup func(io.Writer) error
		want   string // of the error; empty: none
	}{
		{func(w io.Writer) error { _, err := w.Write(data); return err }, ""},
		{func(w io.Writer) error { _, err := w.Write(nil); return err }, ""},
		{func(w io.Writer) error {
			_, err := w.Write(data)
			return errors.Join(err, errors.New("the state\nis damaged"))
		}, "the backup is not whole: the state"},
		{func(w io.Writer) error {
			_, _ = w.Write(data)
			panic(http.ErrAbortHandler) // as when the process ends
		}, "the backup is not whole"},
	} {
		e.backup = x.backup
		var got bytes.Buffer
		err := c.Backup(t.Context(), &got)
		if (err == nil) != (x.want == "") || err != nil && !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%v, want %q", err, x.want)
		}
	}
}

func TestWhoIsNotThereIsNoEngine(t *testing.T) {
	_, dir := served(t, &fake{})
	empty := t.TempDir()
	for name, at := range map[string]string{"no socket": empty, "no directory": filepath.Join(empty, "none")} {
		if _, err := operate.Dial(t.Context(), at); !errors.Is(err, operate.ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A socket that nobody listens on any more.
	left := filepath.Join(dir, "left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(left, operate.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := operate.Dial(t.Context(), left); !errors.Is(err, operate.ErrNotRunning) {
		t.Errorf("a socket that is left over: %v", err)
	}
	s, err := operate.Serve(&fake{}, left) // which takes its place
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What comes over the socket is only as trusted as its reader is careful: it is refused, not obeyed and not a crash.
func FuzzHandler(f *testing.F) {
	f.Add("poll", `{"pipeline": "p"}`)
	f.Add("poll", `{"pipeline": 7}`)
	f.Add("backup", ``)
	f.Fuzz(func(t *testing.T, name, body string) {
		h := operate.Handler(&fake{poll: func(context.Context) error { return nil }, backup: func(io.Writer) error { return nil }})
		req, err := http.NewRequest(http.MethodPost, "http://engine/v1/poll", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if name == "backup" {
			req.URL.Path = "/v1/backup"
		}
		w := &answer{header: http.Header{}}
		h.ServeHTTP(w, req)
		if w.status != 0 && w.status != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %d to %q", name, w.status, body)
		}
	})
}

type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

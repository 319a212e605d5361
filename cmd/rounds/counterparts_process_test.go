// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/handshake"
)

// TestCounterpartAdaptersInOtherLanguagesSaveState: what was saved is given to the next opening, in the next process.
func TestCounterpartAdaptersInOtherLanguagesSaveState(t *testing.T) {
	t.Parallel()
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(l.example(t), "saver"+filepath.Ext(l.program))
			if err := os.WriteFile(path, []byte(l.saver), 0o700); err != nil {
				t.Fatal(err)
			}
			var saved []byte
			save := func(_ context.Context, state []byte) error { saved = state; return nil }
			for want := 1; want <= 3; want++ {
				if want == 3 {
					save = func(context.Context, []byte) error { return sdk.Permanent("SaveState: refused") }
				}
				_, err := launched(t, path).Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{}`), State: saved, Save: save})
				switch {
				case want == 3 && (sdk.CodeOf(err) != sdk.CodePermanent || err.Error() != "SaveState: refused"):
					t.Errorf("what could not be saved is %v in the adapter", err)
				case want < 3 && (err != nil || string(saved) != strconv.Itoa(want)):
					t.Errorf("opening %d saved %q, %v", want, saved, err)
				}
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesSaveSideBySide: sources save at the same time, and a call that is canceled while it saves takes
// nothing from the others.
func TestCounterpartAdaptersInOtherLanguagesSaveSideBySide(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(l.example(t), "saver"+filepath.Ext(l.program))
			if err := os.WriteFile(path, []byte(l.saver), 0o700); err != nil {
				t.Fatal(err)
			}
			client := launched(t, path)
			saving, hold := make(chan struct{}, 1), make(chan struct{})
			save := func(_ context.Context, state []byte) error {
				if string(state) == "polled" {
					select {
					case saving <- struct{}{}:
					default:
					}
					<-hold
				}
				return nil
			}
			var sources []*sdk.Opened
			for range 20 {
				s, err := client.Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{}`), Save: save})
				if err != nil {
					t.Fatal(err)
				}
				sources = append(sources, s)
			}
			polls := make(chan error, 2*len(sources))
			poll := func(ctx context.Context, s *sdk.Opened) {
				_, err := s.Poll(ctx, sdk.Query{Feed: "f"})
				polls <- err
			}
			ctx, cancel := context.WithCancel(t.Context())
			go poll(ctx, sources[0])
			<-saving
			cancel()
			if err := <-polls; sdk.CodeOf(err) != sdk.CodeRetryable {
				t.Errorf("the one that was canceled: %v", err)
			}
			late, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for _, s := range sources {
				go poll(late, s)
				go poll(late, s)
			}
			time.Sleep(time.Second) // not all of them are there by then on a slow machine, which tests less
			close(hold)
			for range 2 * len(sources) {
				if err := <-polls; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesReadNoEndlessAnswer: what a server sends does not fill the memory.
func TestCounterpartAdaptersInOtherLanguagesReadNoEndlessAnswer(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan int64, 1)
			url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var sent int64
				for blank := bytes.Repeat([]byte(" "), 1<<20); sent < 1<<30; {
					n, err := w.Write(blank)
					if sent += int64(n); err != nil {
						break
					}
				}
				gone <- sent
			}))
			client := launched(t, filepath.Join(l.example(t), l.program))
			source, err := client.Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{"base_url": "` + url + `"}`)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Poll(t.Context(), sdk.Query{Feed: "appointments"})
			if sent := <-gone; sdk.CodeOf(err) != sdk.CodePermanent || !strings.HasPrefix(err.Error(), "GET /appointments: the answer is larger than ") || sent > 256<<20 {
				t.Errorf("after %d bytes: %v", sent, err)
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesEndWithTheirParent: the protocol has no other means where the system has no signal for it.
func TestCounterpartAdaptersInOtherLanguagesEndWithTheirParent(t *testing.T) {
	t.Parallel()
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(l.example(t), l.program)
			byHand, err := exec.Command(program).CombinedOutput()
			if err == nil || !strings.Contains(string(byHand), "is an adapter of Rounds") {
				t.Errorf("started by hand (%v) it says: %s", err, byHand)
			}
			_, certificate, err := handshake.Identity()
			if err != nil {
				t.Fatal(err)
			}
			sockets, err := os.MkdirTemp("", "rt") // sockets have short paths
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(sockets)
			parent := exec.Command("sh", "-c", program+" & wait")
			parent.Env = append(os.Environ(), certificate, "PLUGIN_UNIX_SOCKET_DIR="+sockets, sdk.CookieVariable+"="+sdk.CookieValue)
			stdout, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			line, err := lines.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "1|1|unix|"+sockets+"/") {
				t.Errorf("got the handshake %q, %v", line, err)
			}
			ended := make(chan error, 1)
			go func() { // the adapter has the other end of its stdout until it ends
				_, err := io.Copy(io.Discard, lines)
				ended <- err
			}()
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Error("it outlives its parent")
			}
			_ = parent.Wait() // it was killed
		})
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

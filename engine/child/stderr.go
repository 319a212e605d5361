// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const maxTail = 64 << 10

// Tail keeps the last bytes that were written to it. It may be used by many goroutines.
type Tail struct {
	mu      sync.Mutex
	data    []byte
	written int64
}

// Write implements io.Writer. It never fails.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written += int64(len(b))
	t.data = append(t.data, b[max(0, len(b)-maxTail):]...)
	if len(t.data) > 2*maxTail { // seldom, so that most writes move nothing
		t.data = append(t.data[:0], t.data[len(t.data)-maxTail:]...)
	}
	return len(b), nil
}

// Bytes are the last 64 KiB.
func (t *Tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.data[max(0, len(t.data)-maxTail):])
}

// Written is how many bytes were written so far.
func (t *Tail) Written() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written
}

// Since is what of Bytes was written after the first n bytes.
func (t *Tail) Since(n int64) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.data[max(0, int64(len(t.data))-min(t.written-n, maxTail)):])
}

// function is a line of a stack that the Go runtime prints when a program crashes, up to the arguments.
var function = regexp.MustCompile(`^([A-Za-z0-9_./*()\[\]·-]+)\([^()]*\)$`)

// Crashed gives the innermost functions of the last crash that a program written in Go reported on its stderr, "" if there was
// none: what may be logged of it, since the reason may quote a record.
func Crashed(stderr []byte) string {
	at := bytes.LastIndex(stderr, []byte(" [running]:\n"))
	if at < 0 {
		return ""
	}
	var functions []string
	for line := range strings.Lines(string(stderr[at+len(" [running]:\n"):])) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || len(functions) == 5 {
			break
		}
		if m := function.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "runtime.") && m[1] != "panic" {
			functions = append(functions, m[1])
		}
	}
	return strings.Join(functions, " < ")
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/rounds-engine/rounds/engine/record"
)

// lines gathers what several lanes send at the same time into one write: those that come while a write is under way go
// together into the next. A sync of the disk is paid once for all of them.
type lines struct {
	write  func([]byte) error // whole lines; one call at a time
	finish func() error       // when closed, after the last write

	mu     sync.Mutex
	next   *group
	busy   bool // a goroutine writes
	closed bool
}

// group is the lines of one write.
type group struct {
	lines [][]byte
	taken bool // the write has begun
	done  chan struct{}
	err   error // after done
}

// add returns when line is written, or when ctx is done; then it is either left out or may be written all the same.
func (l *lines) add(ctx context.Context, line []byte) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &record.SendError{Code: "closed", Text: "the destination is closed"}
	}
	if l.next == nil {
		l.next = &group{done: make(chan struct{})}
	}
	g, i := l.next, len(l.next.lines)
	g.lines = append(g.lines, line)
	if !l.busy {
		l.busy = true
		go l.run()
	}
	l.mu.Unlock()

	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-g.done: // as long as both are true, what was written counts
		return g.err
	default:
	}
	if !g.taken {
		g.lines[i] = nil
	}
	return canceled(ctx)
}

// run writes until nothing is left to write.
func (l *lines) run() {
	for {
		l.mu.Lock()
		g := l.next
		l.next = nil
		if g == nil {
			l.busy = false
			if l.closed {
				_ = l.finish() // Close has returned; every line that was accepted is on disk
			}
			l.mu.Unlock()
			return
		}
		g.taken = true
		l.mu.Unlock()
		if buf := bytes.Join(g.lines, nil); len(buf) > 0 {
			g.err = l.write(buf)
		}
		close(g.done)
	}
}

// close does not wait for a write that hangs.
func (l *lines) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.busy {
		return nil
	}
	return l.finish()
}

// oneLine returns body without line breaks.
func oneLine(body []byte) ([]byte, error) {
	if len(body) > 0 && !bytes.ContainsAny(body, "\n\r") {
		return body, nil
	}
	var b bytes.Buffer
	if json.Compact(&b, body) != nil {
		return nil, &record.SendError{Verdict: record.Reject, Code: "not_json", Text: "the notification is not valid JSON"}
	}
	return b.Bytes(), nil
}

// ioError says what the system said, which holds neither path nor content.
func ioError(code, what string, err error) error {
	reason := fmt.Sprintf("%T", err)
	if no := syscall.Errno(0); errors.As(err, &no) {
		reason = no.Error()
	}
	return &record.SendError{Code: code, Text: what + ": " + reason}
}

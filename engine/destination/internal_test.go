// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rounds-engine/rounds/engine/delivery"
)

func TestRetryAfterInBothForms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"0", "", 0},
		{"120", "", 2 * time.Minute},
		{" 5 ", "", 5 * time.Second},
		{"-5", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"99999999999999999999", "", 999999999 * time.Second},
		{"Sun, 01 Mar 2026 12:00:30 GMT", "", 30 * time.Second},
		{"Sun, 01 Mar 2026 11:00:30 GMT", "", 0},
		{"Sunday, 01-Mar-26 12:00:30 GMT", "", 30 * time.Second},
		{"Sun, 01 Mar 2026 13:00:30 GMT", "Sun, 01 Mar 2026 13:00:00 GMT", 30 * time.Second}, // its clock is an hour ahead
	} {
		h := http.Header{"Retry-After": {c.value}, "Date": {c.date}}
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q: %s, want %s", c.value, got, c.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Sun, 01 Mar 2026 12:00:30 GMT", "Sun, 01 Mar 2026 12:00:00 GMT")
	f.Add("99999999999999999999", "x")
	f.Fuzz(func(t *testing.T, value, date string) {
		if d := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now()); d < 0 {
			t.Errorf("%q, %q: %s", value, date, d)
		}
	})
}

// FuzzFileEnd: whatever stands in a file, each line that was whole stays as it was, and what is sent becomes a line of its
// own.
func FuzzFileEnd(f *testing.F) {
	f.Add([]byte(""), []byte(""))
	f.Add([]byte(`{"id":"a","pipeline":"p","deliver":"d","body":{}}`+"\n"), []byte(`{"id":"b","pipe`))
	f.Add([]byte("x\n"), []byte(`{"id":"b"}`))
	f.Add([]byte("x\n"), []byte("\x00\x00\x00"))
	f.Add([]byte(""), []byte("{"))
	f.Add([]byte("root:x:0:0\n"), []byte("hand-made"))
	f.Fuzz(func(t *testing.T, before, end []byte) {
		if n := len(before); n > 0 && before[n-1] != '\n' {
			before = append(before, '\n')
		}
		end = bytes.ReplaceAll(end, []byte("\n"), nil)
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, append(bytes.Clone(before), end...), 0o600); err != nil {
			t.Fatal(err)
		}
		d := (&fileConfig{Path: path}).open()
		if err := d.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte(`{"a":1}`)}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := bytes.CutPrefix(got, before)
		if !ok {
			t.Fatalf("whole lines were changed: %q", got)
		}
		rest, ok = bytes.CutSuffix(rest, []byte(`{"id":"n","pipeline":"","deliver":"","body":{"a":1}}`+"\n"))
		if !ok || len(rest) > 0 && rest[len(rest)-1] != '\n' {
			t.Fatalf("no line of its own: %q", got)
		}
		if json.Valid(end) && len(end) > 0 && !bytes.Equal(rest, append(end, '\n')) {
			t.Fatalf("a whole line without its break was lost: %q", got)
		}
	})
}

// TestLinesThatComeTogetherAreWrittenTogether: a disk that syncs slowly must not make every lane wait for its own sync.
func TestLinesThatComeTogetherAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		var disk bytes.Buffer
		l := &lines{
			write: func(b []byte) error {
				writes++
				time.Sleep(10 * time.Millisecond)
				disk.Write(b)
				return nil
			},
			finish: func() error { return nil },
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 10 {
					if err := l.add(t.Context(), []byte("x\n")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if writes > 25 || disk.Len() != 2*160 {
			t.Errorf("%d writes of %d bytes", writes, disk.Len())
		}
	})
}

func TestAWriteThatHangsHangsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var disk bytes.Buffer
		finished := 0
		l := &lines{
			write:  func(b []byte) error { <-release; disk.Write(b); return nil },
			finish: func() error { finished++; return nil },
		}
		for i := range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := l.add(ctx, []byte("x\n")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("attempt %d: %v", i, err)
			}
			cancel()
		}
		if err := l.close(); err != nil || finished != 0 {
			t.Errorf("close: %v", err)
		}
		if err := l.add(t.Context(), []byte("y\n")); err == nil {
			t.Error("a line was taken after close")
		}
		close(release)
		synctest.Wait()
		if disk.String() != "x\n" || finished != 1 {
			t.Errorf("%q was written, finished %d times", disk.String(), finished)
		}
	})
}

func TestStdoutPrintsOneLineEach(t *testing.T) {
	var out bytes.Buffer
	s := newStdout(&out)
	for _, body := range []string{`{"a":1}`, "{\n  \"a\": 2\n}", `"x"`} {
		if err := s.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte("{\n")}); err == nil {
		t.Error("broken JSON was printed")
	}
	if got := out.String(); got != "{\"a\":1}\n{\"a\":2}\n\"x\"\n" {
		t.Errorf("printed %q", got)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	err = newStdout(w).Send(t.Context(), delivery.Notification{Body: []byte(`1`)})
	if err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("a closed pipe: %v", err)
	}
}

// A write that ends in the middle, as on a disk that is full, must not spoil the line of the next.
func TestStdoutPrintsAWholeLineAfterATornOne(t *testing.T) {
	var out bytes.Buffer
	room := 4
	s := newStdout(writer(func(b []byte) (int, error) {
		if n := min(len(b), room); n < len(b) {
			out.Write(b[:n])
			return n, syscall.ENOSPC
		}
		return out.Write(b)
	}))
	send := func() error { return s.Send(t.Context(), delivery.Notification{ID: "n", Body: []byte(`{"a":1}`)}) }
	if err := send(); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Fatalf("half a line: %v", err)
	}
	room = 0
	if err := send(); err == nil {
		t.Fatal("nothing was written, and it is accepted")
	}
	room = 100
	for range 2 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); got != "{\"a\"\n{\"a\":1}\n{\"a\":1}\n" {
		t.Errorf("printed %q", got)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestFileIsOpenedAnewAfterAFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := (&fileConfig{Path: path}).open().(*file)
	n := delivery.Notification{ID: "n", Body: []byte("1")}
	if err := f.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	f.f.Close() // the next write fails
	if err := f.Send(t.Context(), n); err == nil {
		t.Fatal("a write that failed was accepted")
	}
	if err := os.WriteFile(path, []byte(`{"id":"n","pipe`), 0o600); err != nil { // and left half a line
		t.Fatal(err)
	}
	if err := f.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != `{"id":"n","pipeline":"","deliver":"","body":1}`+"\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzAcknowledgement: whatever a receiver sends, in whatever pieces, reading it ends within its bounds, and an answer counts as one
// only if it has one of the codes of an acknowledgement.
func FuzzAcknowledgement(f *testing.F) {
	f.Add([]byte("\x0bMSH|^~\\&|A|B|C|D|2026||ACK|1|P|2.5\rMSA|AA|1\r\x1c\r"), 1)
	f.Add([]byte("\x0bMSH|^~\\&|A\rMSA|AE|1|no||5|207^x\rERR|PID^1^3^101&x\rERR||PID^1|103\x1c\r\x0b"), 7)
	f.Add([]byte("\r\n\x0b\x0bMSH$%^*!#$\r\nMSA$CR$\x1c\x1c\r"), 3)
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n\x1c\r"), 100)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		piece = max(1, piece%len(append(sent, 0)))
		in := bufio.NewReaderSize(&pieces{sent, piece}, 16)
		whole := bufio.NewReader(bytes.NewReader(sent))
		for total := 0; ; {
			const limit = 200
			data, read, err := readFrame(in, limit)
			again, readAgain, errAgain := readFrame(whole, limit)
			if !bytes.Equal(data, again) || read != readAgain || (err == nil) != (errAgain == nil) {
				t.Fatalf("in pieces it is %q (%v), in one %q (%v)", data, err, again, errAgain)
			}
			if total += read; read > limit || total > len(sent) {
				t.Fatalf("%d bytes read of %d", total, len(sent))
			}
			if err != nil {
				return
			}
			if !bytes.Contains(sent, []byte(frameEnd)) || bytes.IndexByte(data, frameStart) >= 0 {
				t.Fatalf("%q is no frame's content", data)
			}
			a, ok := parseAck(data)
			if ok && (len(a.code) != 2 || !bytes.Contains(data, []byte(a.control)) || a.cause != "" && causes[a.cause] == "") {
				t.Fatalf("%q gives %+v", data, a)
			}
		}
	})
}

// pieces reads a few bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(buf, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// A connection on which nothing is sent is closed: by and by, when the receiver closes it, and when it says what nobody asked.
func TestConnectionsThatRestAreLetGo(t *testing.T) {
	for name, c := range map[string]struct {
		rest time.Duration
		do   func(net.Conn)
	}{
		"its time is over":        {10 * time.Millisecond, func(net.Conn) {}},
		"the receiver closed it":  {time.Hour, func(c net.Conn) { c.Close() }},
		"the receiver says more":  {time.Hour, func(c net.Conn) { c.Write([]byte("\r\n")) }},
		"the receiver is half up": {time.Hour, func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				in := bufio.NewReader(conn)
				in.ReadString('\r')
				c.do(conn)
				io.Copy(io.Discard, in)
			}()
			m := &mllp{address: l.Addr().String(), resting: resting{time: c.rest}}
			defer m.Close()
			conn, err := m.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m.resting.give(conn.conn)
			if _, err := conn.Write([]byte("x\r")); err != nil {
				t.Fatal(err)
			}
			<-ended // as the other side has closed it
			<-conn.watching
			if len(m.resting.conns) > 0 {
				t.Error("it is kept")
			}
		})
	}
}

// late is a context that is done when it is asked for the second time.
type late struct {
	context.Context
	asked int
}

func (l *late) Done() <-chan struct{} {
	done := make(chan struct{})
	if l.asked++; l.asked > 1 {
		close(done)
	}
	return done
}

func (l *late) Err() error { return context.DeadlineExceeded }

// TestKafkaCountsWhatIsStoredInTheMomentThatItsTimeIsOver: else it would come again after a stop, and stand in the topic twice.
func TestKafkaCountsWhatIsStoredInTheMomentThatItsTimeIsOver(t *testing.T) {
	k := &kafka{pending: map[string]*produced{}, batches: semaphore.NewWeighted(allBatches)}
	for range 100 {
		p := &produced{done: make(chan struct{})}
		close(p.done)
		k.pending["n"] = p
		if err := k.produce(&late{Context: t.Context()}, nil, delivery.Notification{ID: "n"}, 1); err != nil || len(k.pending) > 0 {
			t.Fatalf("%v, and %d are pending", err, len(k.pending))
		}
	}
}

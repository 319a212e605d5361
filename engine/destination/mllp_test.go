// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/record"
)

// hospital is an MLLP receiver that answers as a test wants.
type hospital struct {
	net.Listener
	opened atomic.Int64 // connections
	mu     sync.Mutex
	conns  []net.Conn
}

// newHospital calls serve for each connection, with a reader of messages, which fails at the connection's end.
func newHospital(t testing.TB, l net.Listener, serve func(c net.Conn, next func() (string, error))) *hospital {
	t.Helper()
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	h := &hospital{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.opened.Add(1)
			h.mu.Lock()
			h.conns = append(h.conns, c)
			h.mu.Unlock()
			all.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				serve(c, func() (string, error) {
					message, err := in.ReadString(0x1c)
					if err != nil {
						return "", err
					}
					if end, err := in.ReadByte(); err != nil || end != '\r' || message[0] != 0x0b {
						return "", errors.New("not MLLP")
					}
					return message[1 : len(message)-1], nil
				})
			})
		}
	})
	t.Cleanup(func() {
		h.stop()
		all.Wait()
	})
	return h
}

// stop closes all, as the end of the receiver's process does.
func (h *hospital) stop() {
	h.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.Close()
	}
	h.conns = nil
}

func (h *hospital) send(t testing.TB) destination.Destination {
	return open(t, "mllp", map[string]any{"address": h.Addr().String()})
}

// header is a field of a message's first segment.
func header(message string, n int) string {
	head, _, _ := strings.Cut(message, "\r")
	return strings.Split(head, head[3:4])[n-1]
}

func framed(text string) string { return "\x0b" + text + "\x1c\r" }

func acknowledge(code, control string, more ...string) string {
	return framed(strings.Join(append([]string{`MSH|^~\&|HIS|H|R|C|20260714||ACK|1|P|2.5`, "MSA|" + code + "|" + control}, more...), "\r") + "\r")
}

// answers serves one answer for each message, made of its control id.
func answers(make func(control string) string) func(net.Conn, func() (string, error)) {
	return func(c net.Conn, next func() (string, error)) {
		for {
			message, err := next()
			if err != nil {
				return
			}
			io.WriteString(c, make(header(message, 10)))
		}
	}
}

const hl7Head = `MSH|^~\&|ROUNDS|CLINIC|HIS|H|20260714093000-0400||SIU^S12^SIU_S12||P|2.5.1||||||UNICODE UTF-8`

func hl7Note(id string, segments ...string) delivery.Notification {
	body, err := json.Marshal(map[string]any{"hl7": append([]string{hl7Head}, segments...)})
	if err != nil {
		panic(err)
	}
	return delivery.Notification{ID: id, Pipeline: "p", Deliver: "d", Body: body, Attempt: 1}
}

const hl7ID = "0123456789abcdef0123456789abcdef"

func TestMLLPSendsTheMessageWithItsControlID(t *testing.T) {
	var got []string
	h := newHospital(t, nil, func(c net.Conn, next func() (string, error)) {
		for {
			message, err := next()
			if err != nil {
				return
			}
			got = append(got, message) // one connection, one at a time
			io.WriteString(c, acknowledge("AA", header(message, 10)))
		}
	})
	d := h.send(t)
	for _, id := range []string{hl7ID, hl7ID, "ffffffffffffffffffffffffffffffff", "x|y"} {
		if err := d.Send(t.Context(), hl7Note(id, "PID|1||77^^^CLINIC^MR||Müller^Ana", "NTE|1||a\\.br\\b")); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(hl7Head, "||P|", "|0123456789abcdef0123|P|", 1) + "\rPID|1||77^^^CLINIC^MR||Müller^Ana\rNTE|1||a\\.br\\b\r"
	if got[0] != want || got[1] != got[0] {
		t.Errorf("sent was\n%q and again\n%q, want\n%q", got[0], got[1], want)
	}
	if id := header(got[2], 10); id != "ffffffffffffffffffff" {
		t.Errorf("control id is %q", id)
	}
	if id := header(got[3], 10); len(id) != 20 || strings.Contains(id, "x") {
		t.Errorf("control id of an id that is no hash is %q", id)
	}
	if n := h.opened.Load(); n != 1 {
		t.Errorf("%d connections for messages one after the other", n)
	}
}

func TestMLLPAcknowledgementsHaveTheirVerdicts(t *testing.T) {
	const private = "MRN-12345"
	for code, c := range map[string]struct {
		more    []string
		verdict record.Verdict
		text    string
	}{
		"AA": {}, "CA": {},
		"AE": {verdict: record.Reject, text: "the receiver answered AE"},
		"AR": {verdict: record.Reject, text: "the receiver answered AR"},
		"CE": {[]string{"ERR||PID^1^3|101^" + private + "|E|||" + private}, record.Reject,
			"the receiver answered CE, 101 (required field missing)"},
		"CR":  {[]string{"ERR|PID^1^3^204&" + private}, record.Reject, "the receiver answered CR, 204 (unknown key identifier)"},
		"AR ": {[]string{"ERR|||207"}, record.Retry, "the receiver answered AR, 207 (application internal error)"},
		"AE ": {[]string{"ERR|||207"}, record.Reject, "the receiver answered AE, 207 (application internal error)"},
		" AR": {[]string{"ERR|||" + private}, record.Reject, "the receiver answered AR"},
	} {
		d := newHospital(t, nil, answers(func(control string) string { return acknowledge(code, control, c.more...) })).send(t)
		err := d.Send(t.Context(), hl7Note(hl7ID))
		if c.text == "" {
			if err != nil {
				t.Errorf("%s: %v", code, err)
			}
			continue
		}
		e := sendError(t, err)
		if want := "hl7_" + strings.ToLower(strings.TrimSpace(code)); e.Verdict != c.verdict || e.Text != c.text || e.Code != want {
			t.Errorf("%s: verdict %d, code %s, %q", code, e.Verdict, e.Code, e.Text)
		}
		if !strings.Contains(e.Detail, "MSA|"+code) || strings.Contains(strings.Join(c.more, ""), private) != strings.Contains(e.Detail, private) {
			t.Errorf("%s: detail is %q", code, e.Detail)
		}
	}
}

func TestMLLPWaitsForItsOwnAcknowledgement(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(control string) string
		refused bool
	}{
		"earlier ones repeated": {func(control string) string {
			return acknowledge("AE", "0001") + acknowledge("AA", "0002") + acknowledge("AA", control)
		}, false},
		"an earlier one that was accepted": {func(control string) string { return acknowledge("AA", "0001") + acknowledge("AE", control) }, true},
		"bytes between frames":             {func(control string) string { return "\r\n\x00" + acknowledge("AA", control) }, false},
		"a frame that was broken off":      {func(control string) string { return "\x0bMSH|^~" + acknowledge("AA", control) }, false},
		"lines ended as in a file": {func(control string) string {
			return strings.ReplaceAll(acknowledge("AA", control), "\rMSA", "\r\nMSA")
		}, false},
		"refused by who could not read the header": {func(string) string { return acknowledge("AR", "") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHospital(t, nil, answers(c.answer))
			d := h.send(t)
			for range 3 {
				err := d.Send(t.Context(), hl7Note(hl7ID))
				if !c.refused && err != nil || c.refused && sendError(t, err).Verdict != record.Reject {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// What is left on a connection, or comes late, is never taken for the answer to another message.
func TestMLLPDoesNotKeepAConnectionInDisorder(t *testing.T) {
	for name, answer := range map[string]func(string) string{
		"an answer to another":     func(control string) string { return acknowledge("AA", "0001") + acknowledge("AA", control) },
		"another answer behind":    func(control string) string { return acknowledge("AA", control) + acknowledge("AA", "0001") },
		"a refusal without a name": func(string) string { return acknowledge("AE", "") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHospital(t, nil, answers(answer))
			d := h.send(t)
			for range 3 {
				_ = d.Send(t.Context(), hl7Note(hl7ID))
			}
			if n := h.opened.Load(); n != 3 {
				t.Errorf("%d connections, want 3", n)
			}
		})
	}
}

func TestMLLPWithoutAnAcknowledgementIsRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		answer, text string
	}{
		"hangs up":                {"", "the receiver closed the connection without an answer"},
		"hangs up in the middle":  {"\x0bMSH|^~\\&|", "in the middle of an answer"},
		"speaks HTTP":             {"HTTP/1.1 400 Bad Request\r\n\r\n", "answered with what is not MLLP"},
		"no HL7":                  {framed("MRN-12345"), "what is no acknowledgement"},
		"a message":               {framed(hl7Head + "\rPID|1"), "what is no acknowledgement"},
		"an unknown code":         {acknowledge("OK", "0123456789abcdef0123"), "what is no acknowledgement"},
		"empty":                   {framed(""), "what is no acknowledgement"},
		"endless":                 {"\x0b" + strings.Repeat("MRN-12345", 10_000), "65536 bytes without an end"},
		"endless outside a frame": {strings.Repeat("MRN-12345", 10_000), "65536 bytes without an end"},
		"endless, of others": {strings.Repeat(acknowledge("AA", "1", "NTE|"+strings.Repeat("x", 50_000)), 30),
			"bytes without an end"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHospital(t, nil, func(conn net.Conn, next func() (string, error)) {
				if _, err := next(); err != nil {
					return
				}
				io.WriteString(conn, c.answer)
			}).send(t)
			e := sendError(t, d.Send(t.Context(), hl7Note(hl7ID)))
			if e.Verdict != record.Retry || !strings.Contains(e.Text, c.text) || strings.Contains(e.Text, "MRN") || len(e.Detail) > 2048 {
				t.Errorf("verdict %d, %q", e.Verdict, e.Text)
			}
		})
	}
}

func TestMLLPReadsAnAnswerThatComesInPieces(t *testing.T) {
	h := newHospital(t, nil, func(c net.Conn, next func() (string, error)) {
		for {
			message, err := next()
			if err != nil {
				return
			}
			for _, b := range []byte(acknowledge("AA", header(message, 10))) {
				c.Write([]byte{b})
			}
		}
	})
	d := h.send(t)
	for range 3 {
		if err := d.Send(t.Context(), hl7Note(hl7ID)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMLLPEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]struct{ answer, text string }{
		"silence": {},
		"a byte":  {answer: "\x0b"},
		"others":  {acknowledge("AA", "0001"), "the receiver acknowledged other messages only"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHospital(t, nil, func(conn net.Conn, next func() (string, error)) {
				if _, err := next(); err != nil {
					return
				}
				io.WriteString(conn, c.answer)
				next()
			})
			d := h.send(t)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := d.Send(ctx, hl7Note(hl7ID))
			if c.text == "" && !errors.Is(err, context.DeadlineExceeded) || c.text != "" && !strings.Contains(sendError(t, err).Text, c.text) {
				t.Errorf("got %v", err)
			}
			// The answer may still come: not on a connection that is used again.
			ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_ = d.Send(ctx, hl7Note(hl7ID))
			if n := h.opened.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

func TestMLLPDoesNotUseAConnectionThatTheReceiverClosed(t *testing.T) {
	accept := answers(func(control string) string { return acknowledge("AA", control) })
	h := newHospital(t, nil, accept)
	d := h.send(t)
	if err := d.Send(t.Context(), hl7Note(hl7ID)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if e := sendError(t, d.Send(t.Context(), hl7Note(hl7ID))); e.Verdict != record.Retry {
		t.Errorf("verdict %d, %q", e.Verdict, e.Text)
	}
	if e := sendError(t, d.Send(t.Context(), hl7Note(hl7ID))); e.Verdict != record.Retry || e.Text != "connection refused" {
		t.Errorf("without a receiver: verdict %d, %q", e.Verdict, e.Text)
	}
	l, err := net.Listen("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	newHospital(t, l, accept)
	if err := d.Send(t.Context(), hl7Note(hl7ID)); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestMLLPIsProbedWithoutAMessage(t *testing.T) {
	h := newHospital(t, nil, func(_ net.Conn, next func() (string, error)) {
		if message, err := next(); err == nil {
			t.Errorf("got %q", message)
		}
	})
	d := h.send(t).(destination.Prober)
	if err := d.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	h.stop()
	if e := sendError(t, d.Probe(t.Context())); e.Text != "connection refused" {
		t.Errorf("without a receiver: %q", e.Text)
	}
}

func TestMLLPHasAConnectionForEachInFlight(t *testing.T) {
	const lanes = 8
	var together sync.WaitGroup
	together.Add(lanes)
	var waited atomic.Int64
	h := newHospital(t, nil, answers(func(control string) string {
		if waited.Add(1) <= lanes {
			together.Done()
			together.Wait() // all of the first are on their way
		}
		return acknowledge("AA", control)
	}))
	d := h.send(t)
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			for n := range 20 {
				if err := d.Send(t.Context(), hl7Note(fmt.Sprint(lane, "-", n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := h.opened.Load(); n != lanes {
		t.Errorf("%d connections for %d lanes", n, lanes)
	}
}

func TestMLLPRefusesWhatIsNoMessage(t *testing.T) {
	head := strings.ReplaceAll(hl7Head, `\`, `\\`)
	for body, want := range map[string]string{
		``:                                        `is no HL7 message: it has to be {"hl7": `,
		`"MSH"`:                                   `is no HL7 message: it has to be {"hl7": `,
		`{}`:                                      `is no HL7 message: it has to be {"hl7": `,
		`{"hl7":"` + head + `"}`:                  `is no HL7 message: it has to be {"hl7": `,
		`{"hl7":[]}`:                              `is no HL7 message: it has to be {"hl7": `,
		`{"hl7":[1]}`:                             `is no HL7 message: it has to be {"hl7": `,
		`{"hl7":["` + head + `"],"x":1}`:          `is no HL7 message: it has to be {"hl7": `,
		`{"hl7":["` + head + `",null]}`:           `segment 2 does not begin`,
		`{"hl7":["` + head + `","hush|1"]}`:       `segment 2 does not begin`,
		`{"hl7":["` + head + `","PID^1"]}`:        `segment 2 does not begin`,
		`{"hl7":["` + head + `","PI"]}`:           `segment 2 does not begin`,
		`{"hl7":["` + head + `","PID|hush\n"]}`:   `segment 2 holds a line break`,
		`{"hl7":["` + head + `\u001c"]}`:          `segment 1 holds a line break`,
		`{"hl7":["` + head + `","` + head + `"]}`: `segment 2 begins another message`,
		`{"hl7":["PID|1"]}`:                       `first segment has to begin like MSH|`,
		`{"hl7":["MSH|^^\\&|A"]}`:                 `first segment has to begin like MSH|`,
		`{"hl7":["MSH|^~\\|A"]}`:                  `first segment has to begin like MSH|`,
		`{"hl7":["MSHA^~\\&A"]}`:                  `first segment has to begin like MSH|`,
		`{"hl7":["MSH|^~\\&|"]}`:                  `MSH-9, MSH-11 and MSH-12 must be there`,
		`{"hl7":["` + strings.Replace(head, "||P|", "|hush|P|", 1) + `"]}`:                     `MSH-10 must be empty`,
		`{"hl7":["` + strings.Replace(head, "|2.5.1|||", "|2.5.1|||NE", 1) + `"]}`:             `asks for no acknowledgement`,
		`{"hl7":["` + strings.Replace(head, "UNICODE UTF-8", "8859/1", 1) + `","NTE|1||ü"]}`:   `names another character set`,
		`{"hl7":["` + strings.Replace(head, "UNICODE UTF-8", "8859/1", 1) + `","NTE|1||u"]}`:   ``,
		`{"hl7":["` + strings.Replace(head, "|2.5.1||||", "|2.5.1|||AL|NE", 1) + `"]}`:         ``,
		`{"hl7":["` + strings.Replace(head, `^~\\&`, `^~\\&#`, 1) + `","PID|1"]}`:              ``,
		`{"hl7":["` + strings.ReplaceAll(head, `|`, `!`) + `","ZPI!tab\there","EVN"]}`:         ``,
		`{"hl7":["` + strings.ReplaceAll(head, "UNICODE UTF-8", "") + `","PID|1||ü^^^\\F\\"]}`: ``,
	} {
		d := newHospital(t, nil, answers(func(control string) string { return acknowledge("AA", control) })).send(t)
		err := d.Send(t.Context(), delivery.Notification{ID: hl7ID, Body: []byte(body)})
		problem := destination.CheckBody("mllp", []byte(body))
		if want == "" {
			if err != nil || problem != "" {
				t.Errorf("%s: %v, %s", body, err, problem)
			}
			continue
		}
		e := sendError(t, err)
		if e.Verdict != record.Reject || e.Code != "not_hl7" || !strings.Contains(e.Text, want) || e.Text != "the notification "+problem {
			t.Errorf("%s: verdict %d, %q, checked %q", body, e.Verdict, e.Text, problem)
		}
		if strings.Contains(e.Text, "hush") {
			t.Errorf("%q quotes the message", e.Text)
		}
	}
	if problem := destination.CheckBody("webhook", []byte(`{}`)); problem != "" {
		t.Errorf("a webhook: %s", problem)
	}
}

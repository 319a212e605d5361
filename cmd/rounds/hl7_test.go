// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// hospital is a receiver of HL7 v2 messages.
type hospital struct {
	net.Listener
	mu       sync.Mutex
	messages []string
	code     string // of the acknowledgements
}

func newHospital(t *testing.T) *hospital {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hospital{Listener: l, code: "AA"}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	return h
}

func (h *hospital) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		message, err := in.ReadString(0x1c)
		if err != nil {
			return
		}
		_, _ = in.ReadByte() // the frame's last
		message = strings.Trim(message, "\x0b\x1c")
		h.mu.Lock()
		h.messages = append(h.messages, message)
		code := h.code
		h.mu.Unlock()
		fmt.Fprintf(c, "\x0bMSH|^~\\&|HIS|H|R|C|2026||ACK|1|P|2.5.1\rMSA|%s|%s\rERR|||103|E|||%s\r\x1c\r", code,
			hl7Field(message, "MSH", 10), hl7Field(message, "PID", 3))
	}
}

func (h *hospital) answer(code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code = code
}

func (h *hospital) received() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

// hl7Field is a field of a message's first segment of a name.
func hl7Field(message, segment string, n int) string {
	for line := range strings.SplitSeq(message, "\r") {
		if fields := strings.Split(line, "|"); fields[0] == segment {
			if segment == "MSH" {
				n--
			}
			return append(fields, slices.Repeat([]string{""}, 50)...)[n]
		}
	}
	return ""
}

func runHL7(t *testing.T, dir string) {
	c, h := newClinic(t, sampleehr.Options{}, receiver.Options{}), newHospital(t)
	env := []string{"EHR_URL=" + c.ehrURL, "HIS_ADDRESS=" + h.Addr().String()}
	if code, stdout, stderr := rounds(t, env, "validate", dir); code != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, env, "test", dir); code != 0 || !strings.Contains(stdout, "3 tests ran, all passed") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	p := start(t, env, "run", dir, "--state", filepath.Join(t.TempDir(), "state"))
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	id := c.IDs()[0]
	for i, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return c.Move(id, time.Hour) }, "SIU^S14^SIU_S12"}, // what it was before is not known
		{func() error { return c.Move(id, time.Hour) }, "SIU^S13^SIU_S12"},
		{func() error { return c.Cancel(id, "Patient") }, "SIU^S15^SIU_S12"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, step.want, func() bool { return len(h.received()) > i })
		a, err := c.Appointment(id)
		if err != nil {
			t.Fatal(err)
		}
		m := h.received()[i]
		if hl7Field(m, "MSH", 9) != step.want || hl7Field(m, "SCH", 2) != a.VisitNumber || !strings.Contains(hl7Field(m, "PID", 3), a.PatientID+"^^^EHR^PI") {
			t.Errorf("want %s of %s, got %q", step.want, a.VisitNumber, m)
		}
	}
	p.stop()
	ids := map[string]bool{}
	for _, m := range h.received() {
		ids[hl7Field(m, "MSH", 10)] = true
	}
	if len(ids) != 3 || len(h.received()) != 3 {
		t.Errorf("%d messages with %d control ids, want 3", len(h.received()), len(ids))
	}
}

const plainEHR = `
source "rest" "clinic" {
  base_url = env("EHR_URL")
  feed "appointments" {
    path    = "/appointments"
    query   = { changedsince = "{since}" }
    id      = "id"
    version = "lastUpdated"
    time    = "lastUpdated"
    since {
      format = "2006-01-02T15:04:05"
      zone   = "America/New_York"
    }
  }
}

pipeline "appointments" {
  poll {
    feed  = source.rest.clinic.feed.appointments
    every = "1s"
  }
  deliver "out" {
    to  = %s
    map = "map.js"
  }
}
`

// What the receiver refuses is not sent again, what it can't take for now is, with the same control id; and a log holds
// nothing of either.
func TestHL7RefusalsAreDeadLettersAndFailuresAreRepeated(t *testing.T) {
	t.Parallel()
	c, h := newClinic(t, sampleehr.Options{}, receiver.Options{}), newHospital(t)
	dir := write(t, map[string]string{
		"map.js": `import { SIU } from "rounds/hl7v2";
			export default ({ change }) => SIU.S14({ SCH: { fillerID: change.id }, PID: { identifiers: "` + canaryPatient + `-" + change.data.patientID } });`,
		"main.hcl": fmt.Sprintf(plainEHR, "destination.mllp.his") + `
			destination "mllp" "his" {
			  address   = env("HIS_ADDRESS")
			  on_reject = "dead_letter"
			}`,
	})
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "HIS_ADDRESS=" + h.Addr().String()})
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	change := func(n int) {
		t.Helper()
		was := len(h.received())
		if err := c.Move(c.IDs()[n], time.Hour); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, "arrived", func() bool { return len(h.received()) > was })
	}
	h.answer("AE")
	change(0)
	p.logged("it became a dead letter", "the receiver answered AE, 103 (table value not found)", "code=hl7_ae")
	h.answer("what is this") // no code of an acknowledgement
	change(1)
	p.eventually(20*time.Second, "sent again", func() bool { return len(h.received()) > 3 })
	h.answer("AA")
	p.logged("deliveries succeed again")
	p.stop()
	messages := h.received()
	if first := hl7Field(messages[0], "MSH", 10); len(first) != 20 || first == hl7Field(messages[1], "MSH", 10) {
		t.Errorf("two notifications have the control ids %q and %q", first, hl7Field(messages[1], "MSH", 10))
	}
	for _, m := range messages[2:] {
		if m != messages[1] {
			t.Errorf("what is sent again differs:\n%q\n%q", messages[1], m)
		}
	}
	noCanary(t, "the log", p.log.String())
}

// What can't be sent as a message is a mistake of the mapping, which shows before anything is sent.
func TestHL7MistakesOfAMappingShowWhenItIsTried(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"map.js": `export default ({ change }) => ({ hl7: ["MSH|^~\\&|A|B|C|D|2026||SIU^S12|" + change.id + "|P|2.5"] });`,
		"main.hcl": fmt.Sprintf(plainEHR, "destination.mllp.his") + `
			destination "mllp" "his" {
			  address = "his.example:2575"
			}`,
		"record.json": `{"change": {"id": "` + canaryID + `", "kind": "appointments", "data": {}}}`,
	})
	code, _, stderr := rounds(t, []string{"EHR_URL=http://localhost"}, "map", "appointments", "--record", filepath.Join(dir, "record.json"), dir)
	want := "map.js:1:16: returned an object that has a control id: MSH-10 must be empty, it is made of the notification's id"
	if code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	noCanary(t, "the error", stderr)
}

// A program gets each notification by its standard input, and what it says about one is not logged.
func TestExecRunsAProgramForEachNotification(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir := write(t, map[string]string{
		"map.js": `export default ({ change }) => ({ id: change.id, patient: "` + canaryPatient + `-" + change.data.patientID });`,
		"take.sh": `#!/bin/sh
			cat >>"$OUT/$ROUNDS_NOTIFICATION_ID"
			echo " $ROUNDS_PIPELINE $ROUNDS_DELIVER $ROUNDS_ATTEMPT ${EHR_TOKEN-none}" >>"$OUT/$ROUNDS_NOTIFICATION_ID"
			echo ` + canaryAnswer + ` >&2
			test "$ROUNDS_ATTEMPT" -gt 1
		`,
		"main.hcl": fmt.Sprintf(plainEHR, "destination.exec.program") + `
			destination "exec" "program" {
			  command     = ["sh", "take.sh"]
			  directory   = env("OUT")
			  environment = { OUT = "out" }
			}`,
	})
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := startRun(t, dir, []string{"EHR_URL=" + c.ehrURL, "OUT=" + dir, "EHR_TOKEN=hush"})
	p.eventually(20*time.Second, "polled", func() bool { return c.polls() > 0 })
	id := c.IDs()[0]
	if err := c.Move(id, time.Hour); err != nil {
		t.Fatal(err)
	}
	p.logged("the program ended with exit code 1", "code=exit_1", "deliveries succeed again")
	p.stop()
	files, err := filepath.Glob(filepath.Join(dir, "out", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d notifications, %v", len(files), err)
	}
	a, err := c.Appointment(id)
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"id":%q,"patient":"%s-%s"}`, id, canaryPatient, a.PatientID)
	if got, want := content(t, files[0]), body+" appointments out 1 none\n"+body+" appointments out 2 none\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	noCanary(t, "the log", p.log.String())
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
)

// screen shows what happens as one line per event. What an engine's log must never hold, it has from the sample EHR and from
// the receiver, whose data are synthetic: the engine tells it no more than counts.
type screen struct {
	w     io.Writer
	color bool
	zone  *time.Location
	name  func(patientID string) string

	serving  bool // Rounds runs elsewhere: there is no log to learn of its windows from
	mu       sync.Mutex
	ready    chan struct{} // closed when Rounds asked the EHR for the first time
	asked    sync.Once
	running  bool             // the engine has started; what it logs before is not the demo's
	polling  bool             // a window is being read: deliveries of it are shown after it
	fetched  []string         // names, since the poll
	held     []func()         // deliveries that wait for their window's line
	changed  map[string]int64 // by visit number: when it changed last, in Unix milliseconds
	latency  []time.Duration
	accepted map[string]bool // notification ids

	changes, polls, fetches, faults, mapped, repeated int
	pollBegan                                         time.Time
	lastPoll                                          time.Time // begin of the last poll that was read to its end
	lastArrival                                       time.Time
	whole                                             bool // it has settled
}

func newScreen(w io.Writer, color bool) *screen {
	return &screen{w: w, color: color, zone: time.Local, ready: make(chan struct{}), changed: map[string]int64{}, accepted: map[string]bool{}}
}

// The steps with their colours (ANSI).
var stepColors = map[string]string{
	"change": "33", "poll": "34", "fetch": "36", "map": "35", "deliver": "32", "fault": "31", "engine": "31",
}

func (s *screen) print(step, text string) {
	pad := strings.Repeat(" ", max(0, 9-len(step)))
	if s.color {
		step = "\x1b[" + stepColors[step] + "m" + step + "\x1b[0m"
	}
	fmt.Fprintf(s.w, "  %s  %s%s%s\n", time.Now().Format("15:04:05"), step, pad, text)
}

// columns aligns who, what and when.
func columns(who, what, visit, note string) string {
	return strings.TrimRight(pad(who, 24)+pad(what, 14)+pad(visit, 20)+note, " ")
}

func pad(text string, width int) string {
	n := utf8.RuneCountInString(text)
	if n >= width {
		return string([]rune(text)[:width-2]) + "… "
	}
	return text + strings.Repeat(" ", width-n)
}

func fullName(n sampleehr.Name) string { return n.First + " " + n.Last }

func (s *screen) visitTime(t time.Time) string {
	return t.In(s.zone).Format("Mon 2 Jan 15:04")
}

// onChange: somebody at the clinic changed an appointment.
func (s *screen) onChange(c sampleehr.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.changed[c.Appointment.VisitNumber] = time.Now().UnixMilli()
	note := c.Appointment.VisitNumber
	if updated, err := time.ParseInLocation(sampleehr.Layout, c.Appointment.LastUpdated, s.zone); err == nil {
		if late := time.Since(updated); late >= 2*time.Second {
			note += fmt.Sprintf(", dated %.0f s ago", late.Seconds())
		}
	}
	s.print("change", columns(fullName(c.Patient.Name), c.What, s.visitTime(c.Appointment.Start), note))
}

// onRequest: Rounds asked the EHR.
func (s *screen) onRequest(r sampleehr.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what := "a patient"
	if r.Endpoint == "appointments" {
		what = "the appointments"
		s.asked.Do(func() { close(s.ready) })
	}
	switch {
	case r.Fault != "" || r.Status >= 400:
		s.faults++
		answer := fmt.Sprintf("answered %d", r.Status)
		switch {
		case r.Status == 0:
			answer = "reset the connection"
		case r.Fault == "html":
			answer = "answered a web page"
		}
		s.print("fault", fmt.Sprintf("the EHR was asked for %s and %s", what, answer))
	case r.Endpoint == "patient":
		s.fetches++
		if s.serving {
			s.print("fetch", s.name(r.ID))
			return
		}
		s.fetched = append(s.fetched, s.name(r.ID))
	case r.Page > 1:
		s.print("poll", fmt.Sprintf("page %d: %s more", r.Page, count(r.Items, "appointment")))
	default:
		s.flush()
		s.polls++
		s.polling, s.pollBegan = !s.serving, time.Now()
		since := r.Since
		if t, err := time.ParseInLocation(sampleehr.Layout, r.Since, s.zone); err == nil {
			since = t.Local().Format("15:04:05")
		}
		s.print("poll", fmt.Sprintf("%s changed since %s", count(r.Items, "appointment"), since))
	}
}

// onWindow: the engine has read a window to its end, or in vain.
func (s *screen) onWindow(a map[string]slog.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := func(key string) int { return int(a[key].Int64()) }
	s.mapped += n("mapped")
	if len(s.fetched) > 0 {
		names := s.fetched
		more := ""
		if len(names) > 4 {
			names, more = names[:4], fmt.Sprintf(" and %d more", len(s.fetched)-4)
		}
		s.print("fetch", strings.Join(names, ", ")+more)
		s.fetched = nil
	}
	if n("new") > 0 || n("dead") > 0 {
		text := fmt.Sprintf("%d new, %d seen before: %s committed", n("new"), n("seen"), count(n("mapped"), "notification"))
		if d := n("dead"); d > 0 {
			text += fmt.Sprintf(", %d set aside for a person", d)
		}
		s.print("map", text)
	}
	if a["complete"].Bool() {
		s.lastPoll = s.pollBegan
	}
	s.flush()
}

// onReceive: a notification arrived.
func (s *screen) onReceive(r receiver.Received) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.Accepted() {
		return
	}
	if s.accepted[r.ID] {
		s.repeated++
	}
	s.accepted[r.ID], s.lastArrival = true, time.Now()
	var body struct {
		Patient struct {
			Demographics struct{ FirstName, LastName string }
		}
		Visit struct{ VisitDateTime time.Time }
	}
	who, visit, note := "", "", r.Visit
	if json.Unmarshal(r.Body, &body) == nil {
		d := body.Patient.Demographics
		who, visit = d.FirstName+" "+d.LastName, s.visitTime(body.Visit.VisitDateTime)
	}
	if at, known := s.changed[r.Visit]; known {
		took := time.Since(time.UnixMilli(at))
		s.latency = append(s.latency, took)
		note += fmt.Sprintf(", %.1f s after the change", took.Seconds())
	}
	show := func() { s.print("deliver", columns(who, r.Event, visit, note)) }
	if s.polling {
		s.held = append(s.held, show)
		return
	}
	show()
}

// flush shows the deliveries that waited for their window's line.
func (s *screen) flush() {
	for _, show := range s.held {
		show()
	}
	s.held, s.polling = nil, false
}

// settled tells whether the engine has read everything that was made until an instant, and all of it has arrived. A window
// that failed half way counts what it maps again a second time: then quiet has to do.
func (s *screen) settled(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = s.lastPoll.After(since) && (len(s.accepted) >= s.mapped || time.Since(s.lastArrival) > 5*time.Second)
	return s.whole
}

func (s *screen) summary(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	arrived := len(s.accepted)
	fmt.Fprintln(s.w)
	if !s.whole {
		fmt.Fprintln(s.w, "  Stopped: the last changes may not have been asked for yet.")
	}
	fmt.Fprintf(s.w, "  In %.0f s the EHR made %s. Rounds polled %s, fetched %s and delivered %s, each with its patient.\n",
		took.Seconds(), count(s.changes, "change"), count(s.polls, "time"), count(s.fetches, "patient record"),
		count(arrived, "notification"))
	if len(s.latency) > 0 {
		slices.Sort(s.latency)
		fmt.Fprintf(s.w, "  Half of them arrived within %.1f s of the change, all within %.1f s.\n",
			s.latency[len(s.latency)/2].Seconds(), s.latency[len(s.latency)-1].Seconds())
	}
	if superseded := s.changes - arrived; s.whole && superseded > 0 {
		fmt.Fprintf(s.w, "  %s followed by another of the same appointment before Rounds asked; the last state was delivered.\n",
			wereChanges(superseded))
	}
	if s.faults > 0 {
		fmt.Fprintf(s.w, "  The EHR failed %s; Rounds asked again.\n", count(s.faults, "time"))
	}
	if s.repeated > 0 {
		fmt.Fprintf(s.w, "  %s came again under the same webhook-id, as an unsure sender must.\n", count(s.repeated, "notification"))
	}
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

func wereChanges(n int) string {
	if n == 1 {
		return "1 change was"
	}
	return fmt.Sprintf("%d changes were", n)
}

// demoLog gives the screen what the engine logs: the windows, and what it warns of.
type demoLog struct {
	screen *screen
	attrs  []slog.Attr
}

func (h demoLog) Enabled(context.Context, slog.Level) bool { return true }

func (h demoLog) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]slog.Value{}
	var texts []string
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value
		texts = append(texts, a.Key+": "+a.Value.String())
		return true
	})
	h.screen.mu.Lock()
	if r.Message == "running" {
		h.screen.running = true
	}
	running := h.screen.running
	h.screen.mu.Unlock()
	switch {
	case r.Message == "window read":
		h.screen.onWindow(attrs)
	case running && r.Level >= slog.LevelWarn:
		h.screen.mu.Lock()
		defer h.screen.mu.Unlock()
		h.screen.print("engine", r.Message+" ("+strings.Join(texts, ", ")+")")
	}
	return nil
}

func (h demoLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoLog{h.screen, append(slices.Clip(h.attrs), attrs...)}
}

func (h demoLog) WithGroup(string) slog.Handler { return h }

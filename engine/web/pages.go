// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// Sections of the navigation.
const (
	inOverview      = "overview"
	inDead          = "dead"
	inNotifications = "notifications"
	inRecords       = "records"
	inPlayground    = "playground"
)

type overviewPage struct {
	Status *operate.Status
	Wants  []want
	Charts []chart
	Dead   int
}

func (s *Site) overview(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	st, err := s.engine.Status(r.Context())
	if err != nil {
		return view{}, err
	}
	p := overviewPage{Status: st, Wants: wants(st), Charts: []chart{
		s.o.Samples.rate("Delivered / min", ofDelivered, false),
		s.o.Samples.rate("Failures / min", ofFailures, true),
		s.o.Samples.level("Waiting", ofWaiting),
		s.o.Samples.time("Oldest waiting", ofLag),
	}}
	for _, x := range st.Pipelines {
		p.Dead += x.DeadLetters
	}
	return view{Template: "overview", Title: "Overview", Section: inOverview, Data: p}, nil
}

func (s *Site) reload(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	done, err := s.engine.Reload(r.Context())
	if err != nil {
		return view{}, err
	}
	text := fmt.Sprintf("The configuration was read again: %d unchanged", done.Unchanged)
	for _, x := range []struct {
		what  string
		names []string
	}{{"started", done.Started}, {"restarted", done.Restarted}, {"stopped", done.Stopped}} {
		if len(x.names) > 0 {
			text += "; " + x.what + " " + strings.Join(x.names, ", ")
		}
	}
	return view{To: "/", Flash: text + "."}, nil
}

type pipelinePage struct {
	Pipeline operate.PipelineStatus
	Position *operate.Position
	Charts   []chart
}

func (s *Site) pipeline(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	st, err := s.engine.Status(r.Context())
	if err != nil {
		return view{}, err
	}
	name := r.PathValue("name")
	for _, x := range st.Pipelines {
		if x.Name != name {
			continue
		}
		p := pipelinePage{Pipeline: x, Charts: []chart{
			s.o.Samples.rate("Failures / min", of(operate.Pipeline, name, ofFailures), true),
			s.o.Samples.time("Age of the last good poll", of(operate.Pipeline, name, ofLag)),
		}}
		if p.Position, err = s.engine.Position(r.Context(), name); err != nil {
			p.Position = nil // it has not polled yet
		}
		return view{Template: "pipeline", Title: name, Section: inOverview, Data: p}, nil
	}
	return view{}, &operate.Error{Kind: operate.ErrNotFound, Text: "There is no such pipeline."}
}

type destinationPage struct {
	Destination operate.DestinationStatus
	Charts      []chart
}

func (s *Site) destination(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	st, err := s.engine.Status(r.Context())
	if err != nil {
		return view{}, err
	}
	name := r.PathValue("name")
	for _, x := range st.Destinations {
		if x.Name == name {
			return view{Template: "destination", Title: name, Section: inOverview, Data: destinationPage{x, []chart{
				s.o.Samples.rate("Delivered / min", of(operate.Destination, name, ofDelivered), false),
				s.o.Samples.level("Waiting", of(operate.Destination, name, ofWaiting)),
				s.o.Samples.time("Oldest waiting", of(operate.Destination, name, ofLag)),
			}}}, nil
		}
	}
	return view{}, &operate.Error{Kind: operate.ErrNotFound, Text: "There is no such destination."}
}

// at is the page of what can be paused.
func at(t operate.Target) string {
	if t.Kind == operate.Destination {
		return "/destinations/" + url.PathEscape(t.Name)
	}
	return "/pipelines/" + url.PathEscape(t.Name)
}

func (s *Site) poll(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	name := f.Get("name")
	p, err := s.engine.Poll(r.Context(), name)
	if err != nil {
		return view{}, err
	}
	return view{To: at(operate.Target{Name: name}), Flash: fmt.Sprintf("Polled: %d changes, of which %d are new, %d seen, %d stale and %d from before the start. "+
		"%d notifications, %d filtered, %d skipped, %d dead letters.", p.Changes, p.New, p.Seen, p.Stale, p.BeforeStart, p.Mapped, p.Filtered, p.Skipped, p.Dead)}, nil
}

func (s *Site) pause(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	return s.change(r, func(t operate.Target, f url.Values) (string, error) {
		return "paused, also over restarts, until it is resumed", s.engine.Pause(r.Context(), t, f.Get("why"))
	})
}

func (s *Site) resume(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	return s.change(r, func(t operate.Target, _ url.Values) (string, error) {
		return "resumed", s.engine.Resume(r.Context(), t)
	})
}

func (s *Site) change(r *http.Request, do func(operate.Target, url.Values) (string, error)) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	t := operate.Target{Kind: f.Get("kind"), Name: f.Get("name")}
	done, err := do(t, f)
	if err != nil {
		return view{}, err
	}
	return view{To: at(t), Flash: fmt.Sprintf("The %s %s was %s.", t.Kind, t.Name, done)}, nil
}

// choices are what the fields of a filter offer.
type choices struct {
	Pipelines    []string
	Destinations []string
}

func (s *Site) choices(r *http.Request) (c choices, err error) {
	st, err := s.engine.Status(r.Context())
	if err != nil {
		return c, err
	}
	for _, p := range st.Pipelines {
		c.Pipelines = append(c.Pipelines, p.Name)
	}
	for _, d := range st.Destinations {
		c.Destinations = append(c.Destinations, d.Name)
	}
	return c, nil
}

// filterOf reads the fields of a filter. Times are UTC, to the minute as browsers have it or as RFC 3339.
func filterOf(f url.Values) (out operate.Filter, err error) {
	out = operate.Filter{Pipeline: f.Get("pipeline"), Destination: f.Get("destination"), Code: strings.TrimSpace(f.Get("code"))}
	if out.From, err = instant(f.Get("from")); err == nil {
		out.To, err = instant(f.Get("to"))
	}
	return out, err
}

func instant(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339Nano} {
		if at, err = time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return at, &operate.Error{Kind: operate.ErrInvalid, Text: "That is no time: give it as 2026-05-10T10:00, in UTC."}
}

const pageSize = 50

type notificationsPage struct {
	choices
	Filter operate.Filter
	List   *operate.NotificationList
}

func (s *Site) notifications(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	var p notificationsPage
	if p.Filter, err = filterOf(f); err != nil {
		return view{}, err
	}
	if p.choices, err = s.choices(r); err != nil {
		return view{}, err
	}
	if p.List, err = s.engine.Notifications(r.Context(), p.Filter, after(r, f)); err != nil {
		return view{}, err
	}
	return view{Template: "notifications", Title: "Notifications", Section: inNotifications, Data: p}, nil
}

// after is which part of a list is asked for. Where one goes on may tell of a record, so it is never in a URL.
func after(r *http.Request, f url.Values) operate.Page {
	p := operate.Page{Limit: pageSize}
	if r.Method == http.MethodPost {
		p.After = f.Get("after")
	}
	return p
}

func (s *Site) notification(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	n, err := s.engine.Notification(r.Context(), r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	return view{Template: "notification", Title: "Notification", Section: inNotifications, Data: n}, nil
}

type recordsPage struct {
	choices
	Pipeline string
	Missing  string // why nothing was found
}

func (s *Site) records(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	c, err := s.choices(r)
	if err != nil {
		return view{}, err
	}
	return view{Template: "records", Title: "Records", Section: inRecords, Data: recordsPage{choices: c}}, nil
}

// findRecord finds a record by what a person knows of it, and goes to the page that is named by what logs call it.
func (s *Site) findRecord(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	pipeline, what := f.Get("pipeline"), strings.TrimSpace(f.Get("record"))
	missing := &operate.Error{Kind: operate.ErrInvalid, Text: "Give the identifier of a record, or its name in logs."}
	err = missing
	if isName(what) {
		if _, found := s.engine.Trace(r.Context(), operate.Record{Name: what, Pipeline: pipeline}); found == nil {
			return view{To: "/records/" + what}, nil
		}
	}
	if what != "" {
		if pipeline == "" {
			err = &operate.Error{Kind: operate.ErrInvalid, Text: "Choose the pipeline: an identifier is looked for in one."}
		} else {
			var t *operate.TraceContent
			if t, err = s.engine.Trace(r.Context(), operate.Record{Pipeline: pipeline, ID: what}); err == nil {
				return view{To: "/records/" + t.Record.Name}, nil
			}
		}
	}
	c, failed := s.choices(r)
	if failed != nil {
		return view{}, failed
	}
	return view{
		Template: "records", Title: "Records", Section: inRecords, Status: status(err, http.StatusInternalServerError),
		Data: recordsPage{c, pipeline, err.Error()},
	}, nil
}

// isName says whether a text may be what logs call a record.
func isName(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}

type tracePage struct {
	*operate.TraceContent
	Changes []generation // newest first
}

// generation is what happened to one state of a record.
type generation struct {
	Number uint64
	Events []operate.Event
}

func (s *Site) trace(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	name := r.PathValue("name")
	if !isName(name) {
		return view{}, &operate.Error{Kind: operate.ErrNotFound, Text: "That is no name of a record."}
	}
	t, err := s.engine.Trace(r.Context(), operate.Record{Name: name})
	if err != nil {
		return view{}, err
	}
	p := tracePage{TraceContent: t}
	byNumber := map[uint64]int{}
	for _, e := range t.Events {
		i, ok := byNumber[e.Generation]
		if !ok {
			i = len(p.Changes)
			byNumber[e.Generation] = i
			p.Changes = append(p.Changes, generation{Number: e.Generation})
		}
		p.Changes[i].Events = append(p.Changes[i].Events, e)
	}
	slices.SortFunc(p.Changes, func(a, b generation) int { return cmp.Compare(b.Number, a.Number) })
	return view{Template: "trace", Title: "Record " + name, Section: inRecords, Data: p}, nil
}

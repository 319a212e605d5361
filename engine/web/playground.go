// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/rounds-engine/rounds/engine/operate"
)

type playgroundPage struct {
	choices
	Trial  operate.Trial
	Script string // as it is edited
	Record string
	Result *operate.TriedContent // nil: nothing was tried yet
	Error  string                // of what was asked, not of the script
	Line   int                   // of the script that failed; 0: none is known
	Source string                // that line
}

// playground shows the mapping that is in use, on the record of a dead letter or of a notification.
func (s *Site) playground(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	q := r.URL.Query()
	p := playgroundPage{Trial: operate.Trial{
		Pipeline: q.Get("pipeline"), Deliver: q.Get("deliver"), DeadLetter: q.Get("dead_letter"), Notification: q.Get("notification"),
	}}
	var err error
	if p.choices, err = s.choices(r); err != nil {
		return view{}, err
	}
	if p.Trial.DeadLetter+p.Trial.Notification != "" {
		if err := s.attempt(r, &p); err != nil {
			return view{}, err
		}
		p.Script, p.Record = p.Result.Script, pretty(p.Result.Change)
	}
	return view{Template: "playground", Title: "Playground", Section: inPlayground, Data: p}, nil
}

// try maps the record by the script, as both stand in the form.
func (s *Site) try(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	// A browser sends the line ends of the internet, whatever stands in the file.
	text := func(name string) string { return strings.ReplaceAll(f.Get(name), "\r\n", "\n") }
	p := playgroundPage{
		Trial: operate.Trial{
			Pipeline: f.Get("pipeline"), Deliver: f.Get("deliver"), DeadLetter: f.Get("dead_letter"), Notification: f.Get("notification"),
		},
		Script: text("script"), Record: text("record"),
	}
	if strings.TrimSpace(p.Script) != "" {
		p.Trial.Script = &p.Script
	}
	if p.choices, err = s.choices(r); err != nil {
		return view{}, err
	}
	switch record := strings.TrimSpace(p.Record); {
	case record == "" && p.Trial.DeadLetter+p.Trial.Notification == "":
		p.Error = "A record is needed: paste one as rounds record writes it, or come here from a dead letter or a notification."
	case record != "" && !json.Valid([]byte(record)):
		p.Error = "The record is not valid JSON."
	default:
		if record != "" {
			p.Trial.Change = json.RawMessage(record)
		}
		if err := s.attempt(r, &p); err != nil {
			p.Error = err.Error()
		} else if p.Trial.Script == nil {
			p.Script = p.Result.Script
		}
	}
	v := view{Template: "playground", Title: "Playground", Section: inPlayground, Data: p}
	if r.Header.Get("HX-Request") != "" {
		v.Part = "result"
	}
	return v, nil
}

// place finds the line in the text of an error, behind the name of the file: "appointment.js:3:12: …".
var place = regexp.MustCompile(`^:(\d+):\d+: `)

func (s *Site) attempt(r *http.Request, p *playgroundPage) (err error) {
	if p.Result, err = s.engine.Try(r.Context(), p.Trial); err != nil {
		return err
	}
	p.Trial.Pipeline, p.Trial.Deliver = p.Result.Pipeline, p.Result.Deliver
	script := p.Result.Script
	if p.Trial.Script != nil {
		script = *p.Trial.Script
	}
	_, rest, _ := strings.Cut(p.Result.Error, p.Result.File)
	if at := place.FindStringSubmatch(rest); at != nil {
		lines := strings.Split(script, "\n")
		if n, err := strconv.Atoi(at[1]); err == nil && n >= 1 && n <= len(lines) {
			p.Line, p.Source = n, strings.TrimSpace(lines[n-1])
		}
	}
	return nil
}

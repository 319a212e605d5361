// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

type deadPage struct {
	choices
	Filter operate.Filter
	List   *operate.DeadList
}

func (s *Site) deadLetters(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	var p deadPage
	if p.Filter, err = filterOf(f); err != nil {
		return view{}, err
	}
	if p.choices, err = s.choices(r); err != nil {
		return view{}, err
	}
	if p.List, err = s.engine.Dead(r.Context(), p.Filter, after(r, f)); err != nil {
		return view{}, err
	}
	return view{Template: "dead", Title: "Dead letters", Section: inDead, Data: p}, nil
}

func (s *Site) deadLetter(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	d, err := s.engine.DeadLetter(r.Context(), r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	return view{Template: "letter", Title: "Dead letter", Section: inDead, Data: d}, nil
}

// What can be done to dead letters.
const (
	doRetry   = "retry"
	doDiscard = "discard"
)

// most is how many dead letters are worked on at once: a browser does not wait for ever.
const most = 1000

// choice is which dead letters something is to be done to, and what.
type choice struct {
	Action string
	Force  bool
	IDs    []string       // empty: all that Filter chooses
	Filter operate.Filter // with an end, so that what fails after the question was asked is none of it
	Count  int
	After  string // where to go on, with all that Filter chooses
	Next   string // where the rest of them goes on; empty: there is none
}

var errChoice = &operate.Error{Kind: operate.ErrInvalid, Text: "Nothing was chosen: mark dead letters in the list, or take all of it."}

func choiceOf(f url.Values) (c choice, err error) {
	c = choice{Action: f.Get("action"), Force: f.Get("force") != "", IDs: f["id"], After: f.Get("after")}
	if c.Filter, err = filterOf(f); err != nil {
		return c, err
	}
	switch {
	case c.Action != doRetry && c.Action != doDiscard:
		return c, errForm
	case f.Get("all") != "":
		c.IDs = nil
	case len(c.IDs) == 0:
		return c, errChoice
	}
	if c.Filter.To.IsZero() {
		c.Filter.To = time.Now()
	}
	return c, nil
}

// chosen lists the dead letters that a choice is of, and says where those that are more than are done at once go on.
func (s *Site) chosen(ctx context.Context, c choice) (list []operate.DeadLetter, next string, err error) {
	if len(c.IDs) > 0 {
		for _, id := range c.IDs {
			list = append(list, operate.DeadLetter{ID: id})
		}
		return list, "", nil
	}
	found, err := s.engine.Dead(ctx, c.Filter, operate.Page{After: c.After, Limit: most})
	if err != nil {
		return nil, "", err
	}
	return found.DeadLetters, found.Next, nil
}

// confirm asks whether it is meant.
func (s *Site) confirm(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	c, err := choiceOf(f)
	if err != nil {
		return view{}, err
	}
	list, next, err := s.chosen(r.Context(), c)
	if err != nil {
		return view{}, err
	}
	if c.Count, c.Next = len(list), next; c.Count == 0 {
		return view{}, errChoice
	}
	return view{Template: "confirm", Title: "Sure?", Section: inDead, Data: c}, nil
}

// result is what became of one dead letter.
type result struct {
	operate.DeadLetter
	What string
	Bad  bool
}

type resultsPage struct {
	choice
	Done, Stay int
	Results    []result
}

// handle does it, to each by itself: one that fails stays, and the others go on.
func (s *Site) handle(_ http.ResponseWriter, r *http.Request, _ *session) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	c, err := choiceOf(f)
	if err != nil {
		return view{}, err
	}
	list, next, err := s.chosen(r.Context(), c)
	if err != nil {
		return view{}, err
	}
	c.Next = next
	p := resultsPage{choice: c}
	for _, d := range list {
		what, err := s.do(r.Context(), c, d.ID)
		if gone := r.Context().Err(); gone != nil {
			return view{}, gone
		}
		if errors.Is(err, operate.ErrNotRunning) {
			return view{}, err
		}
		if err != nil {
			p.Stay++
			p.Results = append(p.Results, result{d, err.Error(), true})
			continue
		}
		p.Done++
		p.Results = append(p.Results, result{d, what, false})
	}
	return view{Template: "handled", Title: "Dead letters", Section: inDead, Data: p}, nil
}

func (s *Site) do(ctx context.Context, c choice, id string) (what string, err error) {
	if c.Action == doDiscard {
		return "discarded", s.engine.Discard(ctx, id)
	}
	r, err := s.engine.Retry(ctx, id, c.Force)
	switch {
	case err != nil:
		return "", err
	case r.Filtered:
		return "filtered: the mapping of today makes nothing of it", nil
	case r.Notifications == 1:
		return "in the outbox again", nil
	}
	return "in the outbox again, as several notifications", nil
}

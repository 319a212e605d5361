// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"

	"github.com/rounds-engine/rounds/sdk"
)

// Counts says what became of the changes of one window.
type Counts struct {
	Pages       int `json:"pages"`
	Changes     int `json:"changes"`      // on the pages
	New         int `json:"new"`          // with Expand: children
	Seen        int `json:"seen"`         // the state that the row holds
	Stale       int `json:"stale"`        // a state from before it
	BeforeStart int `json:"before_start"` // remembered and not delivered
	Filtered    int `json:"filtered"`     // by a deliver block; counted for each
	Skipped     int `json:"skipped"`      // for what is missing
	Mapped      int `json:"mapped"`       // notifications
	Dead        int `json:"dead"`
	Deleted     int `json:"deleted"` // of New: inferred from a scan
	Expanded    int `json:"expanded"`
	Children    int `json:"children"`
}

// Once claims the pipeline, reads one window at once and gives the ownership back: what Run does over and over. The error is
// one that Run would log, and its text may be shown.
func (p *Pipeline) Once(ctx context.Context) (c Counts, err error) {
	defer p.Release()
	p.feed, err = p.Claim(ctx, p.Name)
	if err != nil {
		return c, showable(err)
	}
	defer func() { _ = p.feed.Release(context.WithoutCancel(ctx)) }() // as in own
	p.recover = true
	err = contain(func() error {
		s, err := p.window(ctx)
		c = s.counts()
		return err
	})
	return c, showable(err)
}

func (s stats) counts() Counts {
	return Counts{
		Pages: s.pages, Changes: s.changes, New: s.fresh, Seen: s.seen, Stale: s.stale, BeforeStart: s.primed, Filtered: s.filtered,
		Skipped: s.skipped, Mapped: s.mapped, Dead: s.dead, Deleted: s.deleted, Expanded: s.expanded, Children: s.children,
	}
}

// showable is the error with a text that may be shown and logged.
func showable(err error) error {
	var e *sdk.Error
	if err == nil || errors.As(err, &e) {
		return err // of this loop, or made safe by it
	}
	return failf("%s", text(err))
}

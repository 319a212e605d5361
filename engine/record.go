// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/pseudonym"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// Recording is what was captured of a live source.
type Recording struct {
	Records    []*record.Record
	Failed     int  // changes that could not be read or fetched
	SavedState bool // the adapter saved something, which is lost
}

// Record polls a pipeline's source once, for changes since an instant, by the loop that Run uses, and gives the first n records as
// they come to its mappings, with everything replaced that may tell whose they are. No state is opened, nothing is mapped or
// delivered, and nothing is acknowledged to the source. With an error there may be records all the same.
func (e *Engine) Record(ctx context.Context, cfg *config.Config, name string, n int, since time.Time) (out Recording, err error) {
	c, err := e.builder(cfg).named(name)
	if err != nil {
		return out, err
	}
	state := unstored()
	e.saved.set(state)
	only := *cfg
	only.Sources = nil
	for _, s := range cfg.Sources {
		if s.ID() == c.SourceName {
			only.Sources = append(only.Sources, s)
		}
	}
	sources := e.open(&only)
	defer closeAll(ctx, sources)
	e.host.EndUnused()

	ctx, enough := context.WithCancel(ctx)
	defer enough()
	replacer := pseudonym.New()
	var mu sync.Mutex
	catch := func(_ context.Context, r *record.Record, _ pipeline.MapContext) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(out.Records) == n {
			return nil, nil
		}
		replaced, err := replacer.Record(r)
		if err != nil {
			return nil, &pipeline.MapError{Text: err.Error()}
		}
		if out.Records = append(out.Records, replaced); len(out.Records) == n {
			enough()
		}
		return nil, nil
	}
	c.Source = &portions{Source: sources[c.SourceName], size: n}
	c.Claim, c.Limits, c.Names = state.Claim, state.Limits(), record.Names{Secret: state.Secret()}
	c.Start, c.Confirm, c.KeepPrevious, c.Parallel = pipeline.Start{At: since}, "", false, 1
	c.Delivers = []pipeline.Deliver{{Name: "record", Map: catch}}
	p, err := pipeline.New(c)
	if err != nil {
		return out, err
	}
	counts, err := p.Once(ctx)
	closeAll(ctx, sources) // an adapter may save something when it is closed
	out.Failed, out.SavedState = counts.Dead, state.hasSaved(c.SourceName)
	switch {
	case len(out.Records) == n: // the loop was stopped for that
		return out, nil
	case ctx.Err() != nil:
		return Recording{}, errors.New("stopped before all records were there")
	}
	return out, err
}

// portions is a source that is only read, and whose pages are given out in small parts, so that no more is fetched than is wanted.
type portions struct {
	pipeline.Source
	size  int
	page  sdk.Page // what is left of the last one
	given int
}

var _ pipeline.Source = (*portions)(nil)

// Feed implements pipeline.Source. A queue that can only be emptied is refused before it is polled.
func (p *portions) Feed(ctx context.Context, name string) (sdk.Feed, error) {
	feed, err := p.Source.Feed(ctx, name)
	if err == nil && feed.Class == sdk.Queue && !feed.Peeks {
		return feed, sdk.Permanent("feed %s is a queue: reading it takes its changes away, so no records are taken of it", name)
	}
	return feed, err
}

// Ack implements pipeline.Source: what would be taken over is not.
func (p *portions) Ack(context.Context, string, []byte) error { return nil }

// Poll implements pipeline.Source. Whatever is read stays where it is.
func (p *portions) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	q.Peek = true
	if len(p.page.Changes) == 0 {
		page, err := p.Source.Poll(ctx, q)
		if err != nil {
			return page, err
		}
		p.page = page
	}
	part := p.page
	if len(part.Changes) <= p.size {
		p.page = sdk.Page{}
		return part, nil
	}
	p.given++
	part.Changes, part.Cursor = part.Changes[:p.size], fmt.Appendf(nil, "portion %d", p.given) // which comes back, and is not looked at
	p.page.Changes, p.page.Included, p.page.Notes, p.page.Wait = p.page.Changes[p.size:], nil, nil, 0
	return part, nil
}

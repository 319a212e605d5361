// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/badgerstore"
	"github.com/rounds-engine/rounds/sdk"
)

// Finding is what Check found of one thing.
type Finding struct {
	Subject string `json:"subject"` // as the configuration refers to it; "state"
	What    string `json:"what"`
	OK      bool   `json:"ok"`
	Text    string `json:"text"` // what was found; if not OK, what is wrong
}

// What is off by less is no finding: a server's clock is told in whole seconds, after the time that its answer took.
const clockTolerance = 10 * time.Second

// How long a check of one thing may take.
const checkTimeout = 20 * time.Second

// Check tests what can be tested without consuming anything: each feed is asked for one page that nobody keeps (but for queues that
// a reading would empty, and sources with something that is good once), each destination is reached and sent nothing, and the state's
// directory is looked at.
func (e *Engine) Check(ctx context.Context, cfg *config.Config) []Finding {
	state := &unkept{refused: map[string]bool{}}
	e.saved.set(state)
	sources := e.open(cfg)
	defer closeAll(ctx, sources)
	e.host.EndUnused()
	var mu sync.Mutex
	var all []Finding
	add := func(f Finding) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, f)
	}
	var checking sync.WaitGroup
	for _, s := range cfg.Sources {
		checking.Go(func() { checkSource(ctx, cfg, s, sources[s.ID()], state, add) })
	}
	for _, d := range cfg.Destinations {
		checking.Go(func() { checkDestination(ctx, d, add) })
	}
	checking.Wait()
	add(checkState(e.o.StateDir))
	slices.SortStableFunc(all, func(a, b Finding) int { return strings.Compare(a.Subject, b.Subject) })
	return all
}

func checkSource(ctx context.Context, cfg *config.Config, s config.Source, source *host.Source, state *unkept, add func(Finding)) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	subject := "source." + s.ID()
	catalog, err := source.Catalog(ctx)
	if err != nil {
		add(Finding{subject, "open", false, sdk.Safe(err).Error()})
		return
	}
	add(Finding{subject, "open", true, fmt.Sprintf("%d feeds, %d resources", len(catalog.Feeds), len(catalog.Resources))})
	for _, f := range catalog.Feeds {
		if !slices.ContainsFunc(cfg.Pipelines, func(p config.Pipeline) bool { return p.Source == s.ID() && p.Feed == f.Name }) {
			continue // the credentials may not be meant for it
		}
		what := "poll feed " + f.Name
		if f.Class == sdk.Queue && !f.Peeks {
			add(Finding{subject, what, true, "not tried: a reading would empty the queue"})
			continue
		}
		page, err := source.Poll(ctx, sdk.Query{Feed: f.Name, Start: sdk.Start{At: time.Now()}, Limit: 1, Peek: true})
		switch {
		case err != nil && state.hasRefused(s.ID()):
			add(Finding{subject, what, true, "not tried: its adapter has to keep something for the next time, such as a refresh token that is good once"})
			continue
		case err != nil:
			add(Finding{subject, what, false, sdk.Safe(err).Error()})
			continue
		}
		add(Finding{subject, what, true, "it answers"})
		if page.Now.IsZero() {
			continue
		}
		off := time.Until(page.Now)
		add(Finding{subject, "clock", off.Abs() <= clockTolerance, fmt.Sprintf("the server's clock is %s off this machine's", off.Round(time.Second))})
	}
}

// unkept is the state of a check, which may be made beside an engine: it is empty, and takes a count of calls only, to forget it. What
// else an adapter would save may be good once, and the engine's run depend on it.
type unkept struct {
	mu      sync.Mutex
	refused map[string]bool // by source
}

var _ host.State = (*unkept)(nil)

// LoadState implements host.State.
func (u *unkept) LoadState(context.Context, string) ([]byte, error) { return nil, nil }

// SaveState implements host.State.
func (u *unkept) SaveState(_ context.Context, source string, data []byte) error {
	if len(withoutBudget(data)) == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused[source] = true
	return errors.New("a check keeps nothing")
}

func (u *unkept) hasRefused(source string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refused[source]
}

func checkDestination(ctx context.Context, d config.Destination, add func(Finding)) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	f := Finding{Subject: "destination." + d.ID(), What: "reach"}
	to, err := destination.Open(d.Type, d.Config)
	if err != nil {
		f.Text = err.Error()
		add(f)
		return
	}
	defer func() { _ = to.Close() }() // nothing was sent
	probe, can := to.(destination.Prober)
	if !can {
		f.OK, f.Text = true, "nothing to be tested"
		add(f)
		return
	}
	if err := probe.Probe(ctx); err != nil {
		f.Text = err.Error()
	} else {
		f.OK, f.Text = true, "it is reached"
	}
	add(f)
}

func checkState(dir string) Finding {
	f := Finding{Subject: "state", What: "room"}
	at := dir
	if _, err := os.Stat(dir); err != nil {
		at = "."
	}
	free, err := badgerstore.FreeSpace(at)
	switch {
	case errors.Is(err, store.ErrFull):
		f.Text = err.Error()
	case err != nil:
		f.Text = "how much room there is can't be found out"
	case free < badgerstore.MinFree:
		f.Text = fmt.Sprintf("%d MiB are free, and %d are needed for commits", free>>20, badgerstore.MinFree>>20)
	default:
		f.OK, f.Text = true, fmt.Sprintf("%d MiB are free", free>>20)
	}
	return f
}

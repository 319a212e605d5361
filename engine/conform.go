// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

// LoadWith is Load with another program for the adapter of a name, which need not be there in the configuration. A sha256 that the
// configuration gives is not that of the other program, and is not verified.
func (e *Engine) LoadWith(
	ctx context.Context, path, adapter, program string, values ...config.Value,
) (*config.Config, config.Files, hcl.Diagnostics) {
	instead := instead{described{e.host, nil}, adapter, program}
	cfg, files, diags := e.load(ctx, path, instead, values)
	if cfg != nil {
		for i := range cfg.Sources {
			cfg.Sources[i].Adapter = instead.of(cfg.Sources[i].Adapter)
		}
	}
	return cfg, files, diags
}

// instead asks a program in the place of another.
type instead struct {
	config.Adapters
	adapter string // name
	program string
}

func (i instead) of(a config.Adapter) config.Adapter {
	if a.Path != "" && a.Path != i.program && a.Name == i.adapter {
		a.Path, a.SHA256 = i.program, ""
	}
	return a
}

func (i instead) Describe(ctx context.Context, a config.Adapter) (sdk.Info, schema.Schema, error) {
	return i.Adapters.Describe(ctx, i.of(a))
}

func (i instead) Validate(ctx context.Context, a config.Adapter, data []byte) error {
	return i.Adapters.Validate(ctx, i.of(a), data)
}

// Conform tests the adapter of a source by the conformance kit: with the feeds that pipelines poll, if any does, and with what they fetch
// for the changes. Nothing is delivered or kept. Windows begin at start, the zero time for the beginning; consume allows to take from queues.
func (e *Engine) Conform(ctx context.Context, cfg *config.Config, s config.Source, start time.Time, consume bool) *sdktest.Report {
	e.host.EndUnused()
	o := sdktest.Options{
		Config: []byte(s.Config), Start: start, Consume: consume, FeedRefs: map[string]func(sdk.Change) []sdk.Ref{},
		Launch: func(ctx context.Context, how sdktest.Start) (*sdktest.Process, error) {
			d, err := e.host.Direct(ctx, host.Adapter(s.Adapter), how.Tap, how.Output, how.Environment)
			if err != nil {
				return nil, err
			}
			return &sdktest.Process{Client: d.Client, PID: d.PID, End: d.End}, nil
		},
	}
	polling := map[string][]config.Pipeline{}
	for _, p := range cfg.Pipelines {
		if p.Source == s.ID() {
			polling[p.Feed] = append(polling[p.Feed], p)
		}
	}
	for feed, pipelines := range polling {
		o.Feeds = append(o.Feeds, feed)
		o.FeedRefs[feed] = func(c sdk.Change) (all []sdk.Ref) {
			for _, p := range pipelines {
				all = append(all, refs(p, c)...)
			}
			return all
		}
	}
	return sdktest.Check(ctx, o)
}

// refs is what a pipeline fetches first for a change. What it can't tell from the change alone, and what has no value, is left out.
func refs(p config.Pipeline, c sdk.Change) (all []sdk.Ref) {
	r := &record.Record{Change: c}
	add := func(resource string, id *config.Expr) {
		if text, present, err := id.Eval(r); err == nil && present {
			all = append(all, sdk.Ref{Kind: resource, ID: text})
		}
	}
	if p.Confirm != "" {
		all = append(all, sdk.Ref{Kind: p.Confirm, ID: c.Ref.ID})
	}
	if p.Expand != nil {
		add(p.Expand.Resource, p.Expand.ID)
		return all // the children are not known, which the fetches are for
	}
	for _, f := range p.Fetches {
		if len(f.Needs) > 0 {
			continue
		}
		if f.When != nil {
			if wanted, err := f.When.EvalBool(r); err != nil || !wanted {
				continue
			}
		}
		if f.ID != nil {
			add(f.Resource, f.ID)
			continue
		}
		ids, err := f.ForEach.EvalList(r)
		if err != nil {
			continue
		}
		for _, id := range ids {
			if id != "" {
				all = append(all, sdk.Ref{Kind: f.Resource, ID: id})
			}
		}
	}
	return all
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// Try implements operate.Engine. The record is that of a dead letter or of a notification, with the record before where that is kept.
func (e *Engine) Try(ctx context.Context, t operate.Trial) (*operate.TriedContent, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	out := &operate.TriedContent{Pipeline: t.Pipeline, Deliver: t.Deliver, Change: t.Change}
	var ref sdk.Ref
	var previous []byte
	now := time.Now()
	switch {
	case t.DeadLetter != "":
		d, err := r.state.Admin().DeadLetter(ctx, t.DeadLetter)
		if err != nil {
			return nil, shown(err)
		}
		out.Pipeline, out.Change, previous, ref, now = d.Pipeline, d.Record, d.Previous, d.Ref, d.Time
		if d.Deliver != "" {
			out.Deliver = d.Deliver
		}
	case t.Notification != "":
		n, _, _, err := r.entry(ctx, t.Notification)
		if err != nil {
			return nil, err
		}
		out.Pipeline, out.Deliver, out.Change, ref, now = n.Pipeline, n.Deliver, n.Record, n.Ref, n.Committed
	}
	if ref != (sdk.Ref{}) {
		if err := r.audit(ctx, "playground", out.Pipeline, ref); err != nil {
			return nil, err
		}
	}
	if t.Change != nil {
		out.Change = t.Change // as the person changed it
	}
	if len(out.Change) == 0 {
		return nil, refusal(operate.ErrInvalid, "nothing was kept of this record that a mapping could be tried on")
	}
	d, err := r.deliver(out)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(d.Script)
	if err != nil {
		return nil, refusal(nil, "the script of pipeline %s, deliver %q can't be read", out.Pipeline, out.Deliver)
	}
	out.Script, out.File = string(text), filepath.Base(d.Script)
	if file, err := filepath.Rel(r.configDir(), d.Script); err == nil {
		out.File = filepath.ToSlash(file) // as errors name it
	}
	r.try(ctx, out, d, t.Script, previous, now)
	return out, nil
}

func (r *running) configDir() string {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	return r.cfg.Dir
}

// deliver finds the block that a trial is of.
func (r *running) deliver(t *operate.TriedContent) (d config.Deliver, err error) {
	r.engine.mu.RLock()
	cfg := r.cfg
	r.engine.mu.RUnlock()
	if cfg == nil {
		return d, refusal(operate.ErrInvalid, "a mapping is needed, and no configuration was given")
	}
	for _, p := range cfg.Pipelines {
		if p.Name != t.Pipeline {
			continue
		}
		for _, d := range p.Delivers {
			if d.Name == t.Deliver || t.Deliver == "" {
				t.Deliver = d.Name
				return d, nil
			}
		}
		return d, refusal(operate.ErrInvalid, "pipeline %s has no deliver block %q", t.Pipeline, t.Deliver)
	}
	return d, refusal(operate.ErrInvalid, "%v", noPipeline(cfg, t.Pipeline))
}

// try maps, and leaves in out what comes of it.
func (r *running) try(ctx context.Context, out *operate.TriedContent, d config.Deliver, text *string, previous []byte, now time.Time) {
	fail := func(err error) { out.Error = err.Error() }
	r.engine.mu.RLock()
	cfg := r.cfg
	r.engine.mu.RUnlock()
	b := r.engine.builder(cfg)
	b.text = text
	c, err := b.named(out.Pipeline)
	if err != nil {
		fail(err)
		return
	}
	if c.Release != nil {
		defer c.Release()
	}
	c.Delivers = slices.DeleteFunc(c.Delivers, func(x pipeline.Deliver) bool { return x.Name != d.Name })
	p, err := pipeline.New(c)
	if err != nil {
		fail(err)
		return
	}
	rec, err := record.Unmarshal(out.Change)
	if err != nil {
		fail(err)
		return
	}
	var before *record.Record
	if len(previous) > 0 && c.KeepPrevious {
		if before, err = record.Unmarshal(previous); err != nil {
			fail(err)
			return
		}
	}
	outcomes, err := p.Try(ctx, rec, before, now)
	switch {
	case err != nil:
		fail(err)
	case outcomes[0].Cause != nil:
		fail(errors.New(outcomes[0].Cause.Text))
		out.Detail = outcomes[0].Cause.Detail
	default:
		out.Body, out.Filtered = asJSON(outcomes[0].Body), outcomes[0].Body == nil
	}
}

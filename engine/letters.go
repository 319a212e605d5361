// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// shown is an error of the store for a person.
func shown(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return refusal(operate.ErrNotFound, "there is none of that id")
	}
	return errors.New(store.Text(err))
}

const defaultPage = 100

// span is a page as the store asks for it.
func span(p operate.Page) (token []byte, limit int, err error) {
	if limit = p.Limit; limit <= 0 {
		limit = defaultPage
	}
	if token, err = base64.RawURLEncoding.DecodeString(p.After); err != nil {
		return nil, 0, refusal(operate.ErrInvalid, "this is no place in the list: give what stood in next")
	}
	if len(token) == 0 {
		token = nil
	}
	return token, min(limit, 1000), nil
}

func nextPage(token []byte) string { return base64.RawURLEncoding.EncodeToString(token) }

// filter is a filter as the store asks for it. A record is looked up by its name in logs, or by its id in the pipeline.
func (r *running) filter(ctx context.Context, f operate.Filter) (store.Filter, error) {
	out := store.Filter{Pipeline: f.Pipeline, Destination: f.Destination, Code: f.Code, From: f.From, To: f.To}
	if f.Record != "" {
		found, row, err := r.find(ctx, operate.Record{Name: f.Record, Pipeline: f.Pipeline})
		if errors.Is(err, operate.ErrNotFound) && f.Pipeline != "" {
			if found, row, err = r.find(ctx, operate.Record{Pipeline: f.Pipeline, ID: f.Record}); err == nil {
				err = r.audit(ctx, "search by id", found, row.Ref) // that there is something of the record is told, and what logs call it
			}
		}
		if err != nil {
			return out, err
		}
		out.Pipeline, out.Ref = found, row.Ref
	}
	return out, nil
}

// Dead implements operate.Engine.
func (e *Engine) Dead(ctx context.Context, f operate.Filter, page operate.Page) (*operate.DeadList, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	token, limit, err := span(page)
	if err != nil {
		return nil, err
	}
	filter, err := r.filter(ctx, f)
	if err != nil {
		return nil, err
	}
	dead, next, err := r.state.Admin().Dead(ctx, filter, token, limit)
	if err != nil {
		return nil, shown(err)
	}
	out := &operate.DeadList{DeadLetters: make([]operate.DeadLetter, 0, len(dead)), Next: nextPage(next)}
	for i := range dead {
		out.DeadLetters = append(out.DeadLetters, r.letter(&dead[i]))
	}
	return out, nil
}

func (r *running) letter(d *record.DeadLetter) operate.DeadLetter {
	out := operate.DeadLetter{
		ID: d.ID, Pipeline: d.Pipeline, Deliver: d.Deliver, Record: r.name(d.Pipeline, d), Kind: d.Ref.Kind, Generation: d.Generation,
		Time: d.Time, Stage: string(d.Cause.Stage), Code: d.Cause.Code, Text: d.Cause.Text, Attempts: d.Cause.Attempts,
	}
	if d.Entry != nil {
		out.Destination = d.Entry.Destination
	}
	return out
}

func (r *running) name(pipeline string, d *record.DeadLetter) string {
	return record.Name(r.state.Secret(), pipeline, d.Ref)
}

// DeadLetter implements operate.Engine.
func (e *Engine) DeadLetter(ctx context.Context, id string) (*operate.DeadContent, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	d, err := r.state.Admin().DeadLetter(ctx, id)
	if err != nil {
		return nil, shown(err)
	}
	if err := r.audit(ctx, "dead letter", d.Pipeline, d.Ref); err != nil {
		return nil, err
	}
	out := &operate.DeadContent{
		DeadLetter: r.letter(&d), RecordID: d.Ref.ID, Version: d.Version, Detail: d.Cause.Detail, Change: asJSON(d.Record), Previous: asJSON(d.Previous),
	}
	if d.Entry != nil {
		out.Body, out.Tries = asJSON(d.Entry.Body), tries(d.Entry.Tries)
	}
	row, known, err := r.state.Admin().Row(ctx, d.Pipeline, d.Ref)
	if err != nil {
		return nil, shown(err)
	}
	out.Superseded = known && row.Generation > d.Generation
	return out, nil
}

func tries(all []record.Try) []operate.Try {
	var out []operate.Try
	for _, t := range all {
		out = append(out, operate.Try{Time: t.At, Code: t.Code})
	}
	return out
}

// asJSON is what is stored as JSON; what is none is shown as a text.
func asJSON(data []byte) json.RawMessage {
	if len(data) == 0 || json.Valid(data) {
		return data
	}
	text, _ := json.Marshal(string(data)) // a string always has a JSON form
	return text
}

// Discard implements operate.Engine.
func (e *Engine) Discard(ctx context.Context, id string) error {
	r, err := e.current()
	if err != nil {
		return err
	}
	d, err := r.state.Admin().DeadLetter(ctx, id)
	if err != nil {
		return shown(err)
	}
	if err := r.audit(ctx, "discard of a dead letter", d.Pipeline, d.Ref); err != nil {
		return err
	}
	return shown(r.state.Admin().Discard(ctx, id))
}

// Retry implements operate.Engine.
//
// Invariant 4: what a newer generation superseded goes nowhere without force.
func (e *Engine) Retry(ctx context.Context, id string, force bool) (*operate.Retried, error) {
	r, err := e.current()
	if err != nil {
		return nil, err
	}
	then := r.builds()
	d, err := r.state.Admin().DeadLetter(ctx, id)
	if err != nil {
		return nil, shown(err)
	}
	out := &operate.Retried{Notifications: 1}
	var entries []record.Entry
	switch {
	case r.isParent(&d):
		return r.expandAgain(ctx, &d, force)
	case len(d.Record) > 0 && d.Cause.Stage != record.StagePoll:
		if entries, err = r.mapAgain(ctx, &d); err != nil {
			return nil, err
		}
		out.Notifications, out.Filtered = len(entries), len(entries) == 0
	case d.Entry == nil:
		return nil, refusal(operate.ErrInvalid, "this one can't be retried, as what the server said of the record was not kept (%s: %s). Once the "+
			"cause is gone, read the feed again from before %s (rounds state set %s --start INSTANT), or discard it and wait for the record to change",
			d.Cause.Code, d.Cause.Text, d.Time.UTC().Format(time.RFC3339), d.Pipeline)
	}
	to := entries
	if to == nil {
		to = []record.Entry{*d.Entry}
	}
	done, err := r.entering(then, to)
	if err != nil {
		return nil, err
	}
	err = r.state.Admin().Retry(ctx, id, entries, force)
	done()
	if errors.Is(err, store.ErrSuperseded) {
		return nil, refusal(operate.ErrSuperseded, "the record has changed since, and the newer notification would be followed by this older one: "+
			"discard it, or retry with force")
	}
	if err != nil {
		return nil, shown(err)
	}
	r.retried(ctx, &d, out)
	return out, nil
}

func (r *running) retried(ctx context.Context, d *record.DeadLetter, out *operate.Retried) {
	r.engine.o.Logger.Info("a person retried a dead letter", "pipeline", d.Pipeline, "record", r.names().Of(d.Pipeline, d.Ref),
		"notifications", out.Notifications, "by", operate.Actor(ctx))
}

// isParent says whether a dead letter is of a record whose children could not be had.
func (r *running) isParent(d *record.DeadLetter) bool {
	p, err := r.trial(d.Pipeline, d.Deliver)
	return err == nil && d.Cause.Stage == record.StageFetch && len(d.Record) > 0 && p.IsParent(sdk.Change{Ref: d.Ref})
}

// expandAgain lets the pipeline's loop do what it could not: the children have rows, which are its own. When it is done the dead letter goes;
// should the engine die before, to do it again finds nothing new.
func (r *running) expandAgain(ctx context.Context, d *record.DeadLetter, force bool) (*operate.Retried, error) {
	if r.offline {
		return nil, refusal(operate.ErrNotRunning, "the children of this record could not be had, and are asked for now, which needs a running engine: "+
			"start it with rounds run")
	}
	row, known, err := r.state.Admin().Row(ctx, d.Pipeline, d.Ref)
	if err != nil {
		return nil, shown(err)
	}
	if known && row.Generation > d.Generation && !force {
		return nil, refusal(operate.ErrSuperseded, "the record has changed since, and its children were asked for then: discard it, or retry with force")
	}
	rec, err := record.Unmarshal(d.Record)
	if err != nil {
		return nil, err
	}
	rec.Change.Ref = d.Ref
	p, err := r.pipeline(d.Pipeline)
	if err != nil {
		return nil, err
	}
	counts, err := p.pipeline.ExpandAgain(ctx, rec.Change)
	if err != nil {
		return nil, refusal(operate.ErrInvalid, "it fails again, and stays: %v", err)
	}
	if err := r.state.Admin().Discard(ctx, d.ID); err != nil {
		return nil, shown(err)
	}
	out := &operate.Retried{Notifications: counts.Mapped, Filtered: counts.Mapped == 0}
	r.retried(ctx, d, out)
	return out, nil
}

// mapAgain makes of the record of a dead letter what the configuration of today does: by its deliver block, or by all of them if it
// failed before any. What could not be fetched then is fetched now. A notification that was refused keeps its id and goes where it was
// refused, as long as there is that destination.
func (r *running) mapAgain(ctx context.Context, d *record.DeadLetter) ([]record.Entry, error) {
	p, err := r.trial(d.Pipeline, d.Deliver)
	if err != nil {
		return nil, err
	}
	defer p.Release()
	fetch := d.Cause.Stage == record.StageFetch
	if fetch && r.offline {
		return nil, refusal(operate.ErrNotRunning, "what could not be fetched then has to be fetched now, which needs a running engine: start it with rounds run")
	}
	rec, err := record.Unmarshal(d.Record)
	if err != nil {
		return nil, err
	}
	var previous *record.Record
	if len(d.Previous) > 0 && p.KeepPrevious {
		if previous, err = record.Unmarshal(d.Previous); err != nil {
			return nil, err
		}
	}
	row, _, err := r.state.Admin().Row(ctx, d.Pipeline, d.Ref)
	if err != nil {
		return nil, shown(err)
	}
	rec.Change.Ref = d.Ref
	then := store.Row{Ref: d.Ref, Version: d.Version, Generation: d.Generation, Key: row.Key, Deleted: rec.Change.Op == sdk.Deleted}
	if row.Generation == d.Generation {
		then.Hash = row.Hash // which is part of ids
	}
	entries, err := p.Again(ctx, rec, previous, then, fetch, time.Now())
	if err != nil {
		return nil, refusal(operate.ErrInvalid, "it fails again, and stays: %v", err)
	}
	if entries == nil {
		entries = []record.Entry{} // which is not the same to the store as none given
	}
	for i := range entries {
		if e := d.Entry; e != nil && r.configures(e.Destination) {
			entries[i].ID, entries[i].Destination = e.ID, e.Destination // as it was refused, also where it was replayed
		}
	}
	return entries, nil
}

// builds is what the configuration is built by.
func (r *running) builds() *builder {
	r.engine.mu.RLock()
	defer r.engine.mu.RUnlock()
	return r.build
}

// configures says whether the configuration names a destination.
func (r *running) configures(destination string) bool { return r.builds().names(destination) }

// entering lets entries be put into the outbox: until done, no reload gives a destination another name. It refuses those for one that the
// configuration of then named, and that of now does not, as what waits for it has another name by now.
func (r *running) entering(then *builder, entries []record.Entry) (done func(), err error) {
	r.engine.changing.Lock()
	for i := range entries {
		if to := entries[i].Destination; then != nil && then.names(to) && !r.configures(to) {
			r.engine.changing.Unlock()
			return nil, refusal(operate.ErrInvalid, "the configuration was read again meanwhile, and no longer names the destination %s: try once more", to)
		}
	}
	return r.engine.changing.Unlock, nil
}

// trial is a pipeline for mapping only, with all deliver blocks or that of a name.
func (r *running) trial(name, deliver string) (*pipeline.Pipeline, error) {
	build := r.builds()
	if build == nil {
		return nil, refusal(operate.ErrInvalid, "a mapping is needed, and no configuration was given")
	}
	c, err := build.named(name)
	if err != nil {
		return nil, refusal(operate.ErrInvalid, "%v", err)
	}
	if deliver != "" {
		i := -1
		for at, d := range c.Delivers {
			if d.Name == deliver {
				i = at
			}
		}
		if i < 0 {
			return nil, refusal(operate.ErrInvalid, "pipeline %s no longer has a deliver block %q: put it back, or discard the dead letter", name, deliver)
		}
		c.Delivers = c.Delivers[i : i+1]
	}
	c.Limits, c.Names = r.state.Limits(), r.names()
	r.engine.mu.RLock()
	if running := r.pipelines[name]; running != nil {
		c.Source = running.source.source
	}
	r.engine.mu.RUnlock()
	p, err := pipeline.New(c)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", name, err)
	}
	return p, nil
}

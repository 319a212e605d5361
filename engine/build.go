// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/jsonschema"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
)

// builder makes what the loops run of a configuration. A mapping that several pipelines use is compiled once.
type builder struct {
	cfg          *config.Config
	log          *slog.Logger
	destinations map[string]config.Destination
	first        map[[2]string]string // by source and feed: the first pipeline of the configuration that polls it
	tables       []byte               // all of them, in the same form if they are the same
	mappings     map[mappingKey]mapping
	text         *string  // of the scripts, in place of what their files hold; nil: that
	command      []string // of a worker
}

// mappingKey tells mappings apart.
type mappingKey struct {
	script, schema, typ string // the last is that of the destination
	isolated            bool
}

// mapping is a script with the schema of what it returns.
type mapping struct {
	bundle *script.Bundle
	script *script.Script    // compiled; nil: it is isolated, and nothing of it runs here
	sum    [sha256.Size]byte // of the code of both
}

// builder makes a builder for this engine.
func (e *Engine) builder(cfg *config.Config) *builder {
	b := newBuilder(cfg, e.o.Logger)
	b.command = e.o.Worker
	return b
}

func newBuilder(cfg *config.Config, log *slog.Logger) *builder {
	b := &builder{cfg: cfg, log: log, destinations: map[string]config.Destination{}, first: map[[2]string]string{}, mappings: map[mappingKey]mapping{}}
	for _, d := range cfg.Destinations {
		b.destinations[d.ID()] = d
	}
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		if feed := [2]string{p.Source, p.Feed}; b.first[feed] == "" {
			b.first[feed] = p.Name
		}
	}
	tables, _ := json.Marshal([]any{cfg.Tables, cfg.TableDefaults}) // maps of strings always have a JSON form
	b.tables = append(binary.AppendUvarint(nil, uint64(len(tables))), tables...)
	return b
}

// mapping compiles what a deliver block maps with. An isolated one is compiled where it runs.
func (b *builder) mapping(d config.Deliver, isolated bool) (m mapping, err error) {
	typ := b.destinations[d.Destination].Type
	key := mappingKey{d.Script, d.Schema, typ, isolated}
	m, known := b.mappings[key]
	if known {
		return m, nil
	}
	o := script.Options{Root: b.cfg.Dir, Tables: b.cfg.Tables, TableDefaults: b.cfg.TableDefaults, Text: b.text}
	var schema [sha256.Size]byte
	if o.Check, schema, err = checkWith(d.Schema, b.cfg.Dir, typ); err != nil {
		return m, err
	}
	if m.bundle, err = script.NewBundle(d.Script, o); err != nil {
		return m, err
	}
	if !isolated {
		if m.script, err = m.bundle.Compile(); err != nil {
			return m, err
		}
	}
	code := m.bundle.Sum()
	m.sum = sha256.Sum256(append(code[:], schema[:]...))
	b.mappings[key] = m
	return m, nil
}

// fingerprint is the same for two pipelines that do the same, whatever else their configurations hold.
func (b *builder) fingerprint(p config.Pipeline) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	own := p.Fingerprint()
	h.Write(own[:])
	h.Write(append(binary.AppendUvarint(nil, uint64(len(b.rival(p)))), b.rival(p)...))
	for _, d := range p.Delivers {
		m, err := b.mapping(d, p.Isolate)
		if err != nil {
			return sum, fmt.Errorf("pipeline %s, deliver %q: %w", p.Name, d.Name, err)
		}
		h.Write(m.sum[:])
		if b.keepsRecords(d.Destination) {
			h.Write([]byte("record"))
		}
	}
	h.Write(b.tables) // any mapping may look into any of them
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// worker makes the worker of an isolated pipeline, which is started when it is first used; nil for others.
func (b *builder) worker(p config.Pipeline) *worker.Worker {
	if !p.Isolate {
		return nil
	}
	return worker.New(worker.Options{Command: b.command, Name: "pipeline " + p.Name, Logger: b.log})
}

// pipeline is what the configuration says of a pipeline, its scripts compiled. What it works on is not set. If it is isolated, who
// calls its mappings calls Release when they are done.
func (b *builder) pipeline(p config.Pipeline) (pipeline.Config, error) {
	return b.pipelineIn(p, b.worker(p))
}

// pipelineIn is pipeline with a worker.
func (b *builder) pipelineIn(p config.Pipeline, w *worker.Worker) (pipeline.Config, error) {
	c := pipeline.Config{
		Name: p.Name, SourceName: p.Source, Feed: p.Feed, Rival: b.rival(p), Every: p.Every, Overlap: p.Overlap, Timeout: p.Timeout, Start: pipeline.Start(p.Start),
		Confirm: p.Confirm, MaxDeleted: p.MaxDeleted, KeepPrevious: p.KeepPrevious, Parallel: runtime.GOMAXPROCS(0), Logger: b.log,
	}
	if w != nil {
		c.Release = w.End
	}
	if x := p.Expand; x != nil {
		c.Expand = &pipeline.Expand{
			Name: x.Name, Resource: x.Resource, ID: x.ID, Items: x.Items, Key: x.Key, Version: x.Version, Time: x.Time,
		}
	}
	for _, f := range p.Fetches {
		c.Fetches = append(c.Fetches, fetchOf(f))
	}
	for _, d := range p.Delivers {
		m, err := b.mapping(d, p.Isolate)
		if err != nil {
			return c, fmt.Errorf("pipeline %s, deliver %q: %w", p.Name, d.Name, err)
		}
		to := pipeline.Deliver{
			Name: d.Name, Destination: d.Destination, Map: m.with(w), KeepRecord: b.keepsRecords(d.Destination),
		}
		if d.Filter != nil {
			to.Filter = d.Filter
		}
		if d.OrderBy != nil {
			to.OrderBy = d.OrderBy
		}
		c.Delivers = append(c.Delivers, to)
	}
	return c, nil
}

// names says whether the configuration names a destination.
func (b *builder) names(destination string) bool {
	_, named := b.destinations[destination]
	return named
}

// rival is the first pipeline of the configuration that polls the same feed; empty when that is this one.
func (b *builder) rival(p config.Pipeline) string {
	if first := b.first[[2]string{p.Source, p.Feed}]; first != p.Name {
		return first
	}
	return ""
}

// named is pipeline for the one of a name.
func (b *builder) named(name string) (pipeline.Config, error) {
	i := slices.IndexFunc(b.cfg.Pipelines, func(p config.Pipeline) bool { return p.Name == name })
	if i < 0 {
		return pipeline.Config{}, noPipeline(b.cfg, name)
	}
	return b.pipeline(b.cfg.Pipelines[i])
}

// keepsRecords says whether the record is kept with each notification for a destination: to be mapped again if that is refused, or to
// be shown beside what was made of it.
func (b *builder) keepsRecords(id string) bool {
	return b.cfg.History.Keep > 0 || b.destinations[id].OnReject == string(delivery.DeadLetter)
}

// fetchOf hands over a fetch; an expression that is not given must not become an interface that is not nil.
func fetchOf(f config.Fetch) pipeline.Fetch {
	out := pipeline.Fetch{
		Name: f.Name, Resource: f.Resource, Optional: f.Optional, OnMissing: pipeline.OnMissing(f.OnMissing), Cache: f.Cache, Needs: f.Needs,
	}
	if f.ID != nil {
		out.ID = f.ID
	}
	if f.ForEach != nil {
		out.ForEach = f.ForEach
	}
	if f.When != nil {
		out.When = f.When
	}
	return out
}

// with lets a pipeline map with a script; in a worker, unless that is nil.
func (m mapping) with(w *worker.Worker) func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) {
	call := func(ctx context.Context, r *record.Record, c script.Context) ([]byte, error) {
		return w.Map(ctx, m.bundle, r, c)
	}
	if w == nil {
		call = m.script.Map
	}
	return func(ctx context.Context, r *record.Record, c pipeline.MapContext) ([]byte, error) {
		body, err := call(ctx, r, script.Context(c))
		var failed *script.Error
		if errors.As(err, &failed) {
			return nil, &pipeline.MapError{Text: failed.Error(), Detail: failed.Detail, TimedOut: failed.TimedOut, Abandoned: failed.Abandoned}
		}
		return body, err
	}
}

// checkWith lets a script's result be checked by the type of its destination, and by a schema, if there is one.
func checkWith(name, dir, typ string) (check func([]byte, func(string) bool) *script.Refusal, sum [sha256.Size]byte, err error) {
	var schema *jsonschema.Schema
	if name != "" {
		if schema, err = jsonschema.Compile(name, dir); err != nil {
			return nil, sum, err
		}
		sum = schema.Sum()
	}
	return func(body []byte, authors func(string) bool) *script.Refusal {
		if problem := destination.CheckBody(typ, body); problem != "" {
			return &script.Refusal{Text: problem}
		}
		if schema == nil {
			return nil
		}
		if invalid := schema.Check(body, authors); invalid != nil {
			return &script.Refusal{Text: invalid.Text, Detail: invalid.Detail}
		}
		return nil
	}, sum, nil
}

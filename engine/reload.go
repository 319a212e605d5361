// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// Reload implements operate.Engine: it reads the configuration again and makes what runs that of it. What the
// configuration says the same of goes on undisturbed. One that has a mistake changes nothing.
func (e *Engine) Reload(ctx context.Context) (*operate.Reloaded, error) {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	r, err := e.online()
	if err != nil {
		return nil, err
	}
	e.o.Logger.Debug("the configuration is read again")
	done, err := e.reload(r)
	if errors.Is(err, operate.ErrNotRunning) {
		return nil, err
	}
	if err != nil {
		done = &operate.Reloaded{Time: time.Now(), Error: err.Error()}
		e.o.Logger.Error("the configuration was read again and changes nothing, as it can't be used", "error", strings.TrimSpace(done.Error))
	} else {
		e.o.Logger.Info("the configuration was read again", "started", strings.Join(done.Started, ", "), "stopped", strings.Join(done.Stopped, ", "),
			"restarted", strings.Join(done.Restarted, ", "), "unchanged", done.Unchanged)
	}
	e.mu.Lock()
	e.reloaded = done
	if err == nil {
		e.loaded = done.Time
	}
	e.mu.Unlock()
	if err != nil {
		return nil, refusal(operate.ErrInvalid, "the configuration can't be used, and the one before goes on:\n%s", done.Error)
	}
	return done, nil
}

// reload reads, which may take long, as adapters are asked, and goes on when whoever wanted it is gone; then it changes what runs.
func (e *Engine) reload(r *running) (*operate.Reloaded, error) {
	if r.read == nil {
		return nil, refusal(operate.ErrInvalid, "this engine was not told where its configuration comes from")
	}
	cfg, err := r.read(r.ctx)
	defer e.host.EndUnused() // what was asked for its schema, if nothing comes of that
	if err != nil {
		if r.ctx.Err() != nil {
			return nil, refusal(operate.ErrNotRunning, "the engine is stopping")
		}
		return nil, err
	}
	_, done, err := e.hold()
	if err != nil {
		return nil, err
	}
	defer done()
	next, err := e.bind(cfg.Web, e.listening)
	if err != nil {
		return nil, err
	}
	before := r.units()
	if err := r.apply(r.ctx, cfg); err != nil {
		e.unbind(next)
		return nil, err
	}
	e.listen(r.ctx, next)
	after := r.units()
	out := &operate.Reloaded{Time: time.Now()}
	for name, unit := range after {
		switch was, there := before[name]; {
		case !there:
			out.Started = append(out.Started, name)
		case was != unit:
			out.Restarted = append(out.Restarted, name)
		default:
			out.Unchanged++
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			out.Stopped = append(out.Stopped, name)
		}
	}
	slices.Sort(out.Started)
	slices.Sort(out.Stopped)
	slices.Sort(out.Restarted)
	if err := e.reportOrphans(r.ctx, r.state, cfg); err != nil {
		e.o.Logger.Warn("whether state is kept that the configuration does not name is not known", "error", err)
	}
	return out, nil
}

// units is what runs, by the names that the configuration refers to it with.
func (r *running) units() map[string]any {
	all := map[string]any{}
	for name, p := range r.pipelines {
		all["pipeline."+name] = p
	}
	for id, d := range r.destinations {
		all["destination."+id] = d
	}
	for id, s := range r.sources {
		all["source."+id] = s
	}
	return all
}

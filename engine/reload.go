// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// Reload implements operate.Engine: it reads the configuration again and makes what runs that of it. What the
// configuration says the same of goes on undisturbed. One that has a mistake changes nothing.
func (e *Engine) Reload(ctx context.Context) (*operate.Reloaded, error) {
	r, err := e.online()
	if err != nil {
		return nil, err
	}
	e.changing.Lock()
	defer e.changing.Unlock()
	done, err := e.reload(ctx, r)
	if err != nil {
		done = &operate.Reloaded{Time: time.Now(), Error: err.Error()}
		e.o.Logger.Error("the configuration was read again and changes nothing: it has a mistake", "error", strings.TrimSpace(done.Error))
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
		return nil, refusal(operate.ErrInvalid, "the configuration is invalid, and the one before goes on:\n%s", done.Error)
	}
	return done, nil
}

func (e *Engine) reload(ctx context.Context, r *running) (*operate.Reloaded, error) {
	if r.read == nil {
		return nil, refusal(operate.ErrInvalid, "this engine was not told where its configuration comes from")
	}
	cfg, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	next, err := e.bind(cfg.Web, e.listening)
	if err != nil {
		return nil, err
	}
	before := r.units()
	if err := r.apply(r.ctx, cfg); err != nil {
		next.unbind(e.listening)
		return nil, err
	}
	e.listen(r.ctx, next)
	after := r.units()
	done := &operate.Reloaded{Time: time.Now()}
	for name, unit := range after {
		switch was, there := before[name]; {
		case !there:
			done.Started = append(done.Started, name)
		case was != unit:
			done.Restarted = append(done.Restarted, name)
		default:
			done.Unchanged++
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			done.Stopped = append(done.Stopped, name)
		}
	}
	slices.Sort(done.Started)
	slices.Sort(done.Stopped)
	slices.Sort(done.Restarted)
	return done, e.reportOrphans(ctx, r.state, cfg)
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

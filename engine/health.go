// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/engine/health"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/store"
)

// Live answers whether the process works: what does not get well by itself is a reason to start it again. An engine that is
// starting is well.
func (e *Engine) Live() http.Handler {
	return health.Handler(health.Check{Name: "state", Test: e.takesWrites}, health.Check{Name: "loops", Test: e.loopsRun})
}

// Ready answers whether the engine has begun its work. That an EHR or a receiver is down is no reason that it has not.
func (e *Engine) Ready() http.Handler {
	return health.Handler(
		health.Check{Name: "configuration", Test: func(context.Context) error {
			_, err := e.online()
			return err
		}},
		health.Check{Name: "state", Test: e.takesWrites},
		health.Check{Name: "pipelines", Test: e.pipelinesClaimed})
}

func (e *Engine) takesWrites(context.Context) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.running == nil {
		return nil
	}
	select {
	case <-e.running.state.Failed():
		return errors.New("takes no more writes")
	default:
		return nil
	}
}

// loopsRun looks for loops that have ended and that nobody stopped.
func (e *Engine) loopsRun(context.Context) error {
	if !e.changing.TryLock() {
		return nil // some are being stopped, to be started again
	}
	defer e.changing.Unlock()
	return e.none("has ended", pipeline.Stopped, delivery.Stopped)
}

func (e *Engine) pipelinesClaimed(context.Context) error {
	return e.none("has not claimed its state yet", pipeline.Claiming, "")
}

// mostNamed is how many loops an answer names.
const mostNamed = 10

// none is an error that names what is in a state, and that nobody paused.
func (e *Engine) none(what string, pipelines pipeline.State, destinations delivery.State) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	r := e.running
	if r == nil || r.offline {
		return nil
	}
	var names []string
	for name, p := range r.pipelines {
		if !r.isPaused(store.Pipeline, name) && p.pipeline.Status().State == pipelines {
			names = append(names, "pipeline "+name)
		}
	}
	for id, d := range r.destinations {
		if !r.isPaused(store.Destination, id) && d.loop != nil && d.loop.Status().State == destinations {
			names = append(names, "destination "+id)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	if more := len(names) - mostNamed; more > 0 { // who asks does so every few seconds, and there may be thousands
		names = append(names[:mostNamed], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%s %s", strings.Join(names, ", "), what)
}

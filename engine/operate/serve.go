// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// position is what SetPosition is asked with.
type position struct {
	Pipeline string    `json:"pipeline"`
	Start    time.Time `json:"start,omitzero"`
}

type pause struct {
	Target
	Why string `json:"why,omitempty"`
}

type list struct {
	Filter
	Page
}

type one struct {
	ID    string `json:"id"`
	Force bool   `json:"force,omitempty"`
}

type named struct {
	Pipeline string `json:"pipeline"`
}

type nothing struct{}

// failure is an error on its way.
type failure struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"error"`
}

// kinds of errors have names on their way, and a status for those who read nothing else.
var kinds = map[string]struct {
	err    error
	status int
}{
	"not_found":   {ErrNotFound, http.StatusNotFound},
	"not_running": {ErrNotRunning, http.StatusServiceUnavailable},
	"superseded":  {ErrSuperseded, http.StatusConflict},
	"invalid":     {ErrInvalid, http.StatusUnprocessableEntity},
}

const maxRequest = 32 << 20 // a record to be tried may be large

// Handler serves an engine to a Client: each call is a POST of JSON to its name, answered with JSON. It does not ask who calls: that
// is for the listener that it serves on.
func Handler(e Engine) http.Handler {
	mux := http.NewServeMux()
	handle(mux, "status", func(ctx context.Context, _ nothing) (*Status, error) { return e.Status(ctx) })
	handle(mux, "pause", func(ctx context.Context, in pause) (nothing, error) {
		return nothing{}, e.Pause(ctx, in.Target, in.Why)
	})
	handle(mux, "resume", func(ctx context.Context, in Target) (nothing, error) { return nothing{}, e.Resume(ctx, in) })
	handle(mux, "poll", func(ctx context.Context, in named) (*Polled, error) { return e.Poll(ctx, in.Pipeline) })
	handle(mux, "position", func(ctx context.Context, in named) (*Position, error) { return e.Position(ctx, in.Pipeline) })
	handle(mux, "set-position", func(ctx context.Context, in position) (nothing, error) {
		return nothing{}, e.SetPosition(ctx, in.Pipeline, in.Start)
	})
	handle(mux, "dead", func(ctx context.Context, in list) (*DeadList, error) { return e.Dead(ctx, in.Filter, in.Page) })
	handle(mux, "dead-letter", func(ctx context.Context, in one) (*DeadContent, error) { return e.DeadLetter(ctx, in.ID) })
	handle(mux, "retry", func(ctx context.Context, in one) (*Retried, error) { return e.Retry(ctx, in.ID, in.Force) })
	handle(mux, "discard", func(ctx context.Context, in one) (nothing, error) { return nothing{}, e.Discard(ctx, in.ID) })
	handle(mux, "notifications", func(ctx context.Context, in list) (*NotificationList, error) {
		return e.Notifications(ctx, in.Filter, in.Page)
	})
	handle(mux, "notification", func(ctx context.Context, in one) (*NotificationContent, error) { return e.Notification(ctx, in.ID) })
	handle(mux, "replay", func(ctx context.Context, in Replay) (*Replayed, error) { return e.Replay(ctx, in) })
	handle(mux, "trace", func(ctx context.Context, in Record) (*TraceContent, error) { return e.Trace(ctx, in) })
	handle(mux, "try", func(ctx context.Context, in Trial) (*TriedContent, error) { return e.Try(ctx, in) })
	handle(mux, "adapters", func(ctx context.Context, _ nothing) ([]Adapter, error) { return e.Adapters(ctx) })
	handle(mux, "reload", func(ctx context.Context, _ nothing) (*Reloaded, error) { return e.Reload(ctx) })
	handle(mux, "open-page", func(ctx context.Context, _ nothing) (*Link, error) { return e.OpenPage(ctx) })
	mux.HandleFunc("POST /v1/backup", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Trailer", backupTrailer)
		if err := e.Backup(r.Context(), w); err != nil {
			w.Header().Set(backupTrailer, err.Error())
			return
		}
		w.Header().Set(backupTrailer, backupWhole)
	})
	return contained(mux)
}

// contained answers for a call that panics. net/http would print the panic's value, which may quote a record; a stack holds none.
func contained(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				refuse(w, fmt.Errorf("internal error (%T), please report it with this stack:\n%s", v, debug.Stack()))
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// What follows a backup says whether it is whole.
const (
	backupTrailer = "Rounds-Backup"
	backupWhole   = "whole"
)

func handle[In, Out any](mux *http.ServeMux, name string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in); err != nil {
			refuse(w, &Error{ErrInvalid, "the request is not the JSON that this call takes"})
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			refuse(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(out) // whoever asked is gone
	})
}

func refuse(w http.ResponseWriter, err error) {
	f, status := failure{Text: err.Error()}, http.StatusInternalServerError
	for name, kind := range kinds {
		if errors.Is(err, kind.err) {
			f.Kind, status = name, kind.status
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // whoever asked is gone
}

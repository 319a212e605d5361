// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package health answers whoever watches over the process whether it works (/healthz) and whether it has begun to (/readyz).
package health

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Check is one thing that has to be well. Its error is for a person, and is shown to whoever asks: nothing of a record. It is
// called from several goroutines.
type Check struct {
	Name string
	Test func(context.Context) error
}

// limit is how long a check may take. Kubernetes waits for one second unless it is told otherwise.
const limit = 800 * time.Millisecond

// Handler answers 200 when all checks are well, else 503, with a line for each. One that does not answer in time is not well.
func Handler(checks ...Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		results := make([]chan error, len(checks))
		for i, c := range checks {
			results[i] = make(chan error, 1)
			go func() { results[i] <- c.tested(ctx) }()
		}
		status, lines := http.StatusOK, strings.Builder{}
		for i, c := range checks {
			if err := await(ctx, results[i]); err != nil {
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&lines, "%s: %v\n", c.Name, err)
				continue
			}
			fmt.Fprintf(&lines, "%s: ok\n", c.Name)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(lines.String())) // who asked may have gone
	})
}

// await waits for a result as long as ctx allows.
func await(ctx context.Context, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result: // it was there while another was waited for
		return err
	default:
		return fmt.Errorf("no answer within %s", limit)
	}
}

// tested turns a panic into an error, its value withheld.
func (c Check) tested(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("internal error (%T)", v)
		}
	}()
	return c.Test(ctx)
}

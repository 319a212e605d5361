// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"context"
	"testing"
	"time"

	"github.com/dop251/goja"
)

// CodeOf is the generated code of a script, with all that it imports.
func CodeOf(s *Script) string { return s.Code }

// Differences are the paths by which two JSON documents differ.
func Differences(part string, a, b []byte) []string { return differences(part, a, b) }

// SetAbandoning sets, for a test, how long an interrupted call is waited for, and how many may run on.
func SetAbandoning(t *testing.T, wait time.Duration, limit int32) {
	oldGrace, oldLimit := grace, abandonedLimit
	grace, abandonedLimit = wait, limit
	t.Cleanup(func() { grace, abandonedLimit = oldGrace, oldLimit })
}

// Abandoned is how many calls of a script were given up and still run.
func Abandoned(s *Script) int { return int(s.abandoned.Load()) }

// Hang calls a script as Map does, and is then in a function of the engine that returns when end is closed, and not before.
func Hang(ctx context.Context, s *Script, end <-chan struct{}) error {
	return s.run(ctx, time.Now(), 0, func(*call, goja.Value) error {
		<-end
		return nil
	})
}

// Said are the words that may stand in what a worker says of a call.
var Said = said

// Views reports whether the next call of a script gets its record as views.
func Views(s *Script) bool { return s.views && !s.changes.Load() }

// Shapes is how many object literals of a script are not made as goja makes objects.
func Shapes(s *Script) int { return len(s.shapes) }

// SetViews has the next call of a script get its record as views, if its code may, or as objects that are made at once, as those of its
// literals then are.
func SetViews(s *Script, on bool) { s.changes.Store(!on) }

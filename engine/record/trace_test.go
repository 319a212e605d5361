// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"testing"

	"github.com/rounds-engine/rounds/engine/record"
)

func TestATraceSurvivesBeingKept(t *testing.T) {
	for _, x := range []struct{ kept, then string }{
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", ""}, // not sampled
		{"", ""},
		{"00-00000000000000000000000000000000-0000000000000000-01", ""},
		{"something else", ""},
	} {
		// What ctx was in before does not count.
		ctx := record.InTrace(t.Context(), "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01")
		if got := record.TraceOf(record.InTrace(ctx, x.kept)); got != x.then {
			t.Errorf("%q became %q, want %q", x.kept, got, x.then)
		}
	}
}

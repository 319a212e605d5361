// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import (
	"testing"
	"time"
)

// What was deleted does not lie on disk for good where little is written.
func TestCompactionIsDueAfterManyDeletionsOrADay(t *testing.T) {
	for _, x := range []struct {
		deletes int64
		since   time.Duration
		due     bool
	}{
		{0, 1000 * time.Hour, false},
		{1, 23 * time.Hour, false},
		{1, 24 * time.Hour, true},
		{99_999, time.Hour, false},
		{100_000, time.Minute, true},
	} {
		if due := compactionIsDue(x.deletes, x.since); due != x.due {
			t.Errorf("after %d deletions in %v: %v, want %v", x.deletes, x.since, due, x.due)
		}
	}
}

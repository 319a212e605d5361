// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"testing"
	"time"
)

// FetchAtMost sets how many bytes one Fetch may hold, for one test.
func FetchAtMost(t *testing.T, bytes int64) {
	was := mostFetched
	mostFetched = bytes
	t.Cleanup(func() { mostFetched = was })
}

// SmallParts lets an adapter's process give what has more than 2,000 bytes in parts.
func SmallParts() { partSize = 1000 }

// InParts sets how large parts are and how much is kept, for one test.
func InParts(t *testing.T, size, most int, idle, done time.Duration) {
	was := [...]any{partSize, mostHeld, keptIdle, keptDone}
	partSize, mostHeld, keptIdle, keptDone = size, most, idle, done
	t.Cleanup(func() {
		partSize, mostHeld, keptIdle, keptDone = was[0].(int), was[1].(int), was[2].(time.Duration), was[3].(time.Duration)
	})
}

// Kept gives how many answers are kept, and their bytes.
func Kept() (n, size int) {
	shelved.mu.Lock()
	defer shelved.mu.Unlock()
	return len(shelved.held), shelved.size
}

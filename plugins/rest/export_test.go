// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import "testing"

// FetchAtMost sets how many bytes one Fetch may hold, for one test.
func FetchAtMost(t *testing.T, bytes int64) {
	was := mostFetched
	mostFetched = bytes
	t.Cleanup(func() { mostFetched = was })
}

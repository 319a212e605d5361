// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"context"

	"github.com/rounds-engine/rounds/sdk"
)

// same makes sure that the list, of which l was answered, is the one that m was read from. Where the change read last is not there any
// more, that can be in doubt; see the package's comment.
func (c *caller) same(ctx context.Context, m mark, l list) ([]sdk.Note, error) {
	if m.Last == 0 {
		return nil, nil
	}
	if n := len(l.changes); n > 0 && l.changes[n-1].seq < m.Last { // a page before the place, or nothing is listed after it
		var err error
		if l, err = c.changes(ctx, m.Last-1, 1); err != nil {
			return nil, err
		}
	}
	reset := sdk.WatermarkExpired("GET /changes: the numbers have begun anew, so the database is not the one that was read before")
	if e, there := l.at(m.Last); there {
		if e.print() != m.Print {
			return nil, reset
		}
		return nil, nil
	}
	if len(l.changes) == 0 && l.last < m.Last {
		return nil, reset
	}
	first, err := c.changes(ctx, 0, 1)
	if err != nil {
		return nil, err
	}
	if len(first.changes) == 1 && first.changes[0].seq < m.Last {
		if e := first.changes[0]; !m.Time.IsZero() && e.early.After(m.Time) {
			return nil, reset
		}
		return nil, nil
	}
	if len(l.changes) > 0 && l.changes[0].seq > m.Last+1 {
		return []sdk.Note{{Code: "changes-missing", Text: "nothing is left in GET /changes of what was read, and numbers after it are missing: what they " +
			"stood for was deleted, or the list was emptied (DELETE /changes) before all of it was read, or the database was replaced"}}, nil
	}
	return nil, nil
}

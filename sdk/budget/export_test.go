// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package budget

import "time"

// SetClock has a budget go by another clock.
func (b *Budget) SetClock(now func() time.Time) { b.now = now }

// Around is Period.around.
var Around = Period.around

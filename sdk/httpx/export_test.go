// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import "time"

// PingAfter makes the clients that are made from now on find out sooner that a connection is dead.
func PingAfter(d time.Duration) (restore func()) {
	was := pingAfter
	pingAfter = d
	return func() { pingAfter = was }
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package delivery

// Turn is when the time of a stored attempt comes.
var Turn = turn

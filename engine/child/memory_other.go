// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package child

func (p *Process) watch() {}

// Memory is what the program has taken for itself. Here the system does not tell.
func (p *Process) Memory() (used int64, known bool) { return 0, false }

// AllMemory is how much there is for all processes. Here it is not known.
func AllMemory() int64 { return 0 }

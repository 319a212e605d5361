// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// hideMemory keeps the process from being read by others of the same user, by ptrace and by /proc/PID/mem and environ, and
// from leaving a core dump, also to a handler that takes no notice of the limit on its size (core(5), "Piping core dumps").
func hideMemory() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) } // it fails for other values only

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import "golang.org/x/sys/unix"

// noCoreDump sees to it that no crash writes the memory to a file, whatever GOTRACEBACK says: it holds patients' data and secrets.
// What the process starts inherits the limit, and without privileges it can't be raised again.
func noCoreDump() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) } // lowering one's own limit is always allowed

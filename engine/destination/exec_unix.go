// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package destination

import "syscall"

// ownGroup puts a program and what it starts into a group, which can be ended as one; a Ctrl-C in the terminal is not for it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // it fails when there is nothing left to kill

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package destination

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a program and what it starts into a group, which can be ended as one; a Ctrl-C in the terminal is not for it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// reap waits for the program's end, calls ended, and ends what the program has started.
func reap(cmd *exec.Cmd, ended func()) {
	_ = cmd.Wait() // its error says less than the state
	ended()
	killGroup(cmd.Process.Pid)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package child

import (
	"os/exec"
	"syscall"
)

// isolate puts the program into a group of its own: a Ctrl-C in the terminal is the engine's to handle. That the program ends
// with the engine is left to itself: sdk.Serve watches its parent.
func isolate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func sacrifice(int) {}

// reap waits for a program's end and ends what it has started.
func reap(cmd *exec.Cmd) {
	_ = cmd.Wait() // its error says less than the state
	killGroup(cmd.Process.Pid)
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // it fails when there is nothing left to kill

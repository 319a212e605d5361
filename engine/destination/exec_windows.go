// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"os"
	"os/exec"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func reap(cmd *exec.Cmd, ended func()) {
	_ = cmd.Wait() // its error says less than the state
	ended()
}

// killGroup ends the program alone: groups of processes can't be ended here.
func killGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // it fails when the program has ended
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup puts a program and what it starts into a group, which can be ended as one; a Ctrl-C in the terminal is not for it. The program
// ends with the engine even where that is killed: it could deliver after the next engine has begun with the same. Invariant 4.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the program's end, calls ended, and ends what the program has started. All that comes before the program's id is given
// back: until then its group's id can't be another's.
func reap(cmd *exec.Cmd, ended func()) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	ended()
	killGroup(cmd.Process.Pid)
	_ = cmd.Wait() // its error says less than the state
}

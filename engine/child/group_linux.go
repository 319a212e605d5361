// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ParentDeathSignal ends a program at once when the engine dies, even by SIGKILL. Tests take it away, as it is on other systems.
var ParentDeathSignal = syscall.SIGKILL

// isolate puts the program into a group of its own: a Ctrl-C in the terminal is the engine's to handle.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: ParentDeathSignal}
}

// sacrifice makes the system end a program before the engine when memory runs out: the engine starts it again.
func sacrifice(pid int) {
	own := 0
	if text, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		own, _ = strconv.Atoi(strings.TrimSpace(string(text))) // 0 is the system's default
	}
	score := strconv.Itoa(min(own+500, 1000))
	// It may be forbidden, or the program may have ended: neither matters here.
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(score), 0)
}

// reap waits for a program's end and ends what it has started. That comes before its id is given back, since until then the
// group's id can't be another's.
func reap(cmd *exec.Cmd) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	killGroup(cmd.Process.Pid)
	_ = cmd.Wait() // its error says less than the state
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // it fails when there is nothing left to kill

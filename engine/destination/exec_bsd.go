// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package destination

import "os/exec"

// reap waits for the program's end, calls ended, and ends what the program has started.
func reap(cmd *exec.Cmd, ended func()) {
	_ = cmd.Wait() // its error says less than the state
	ended()
	killGroup(cmd.Process.Pid)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInvariant4AnExecEndsWithTheEngine, also where that is killed: the next engine begins with the same notification, and the program of
// the old one must not go on beside it, and deliver after what follows.
func TestInvariant4AnExecEndsWithTheEngine(t *testing.T) {
	const engine = "ROUNDS_TEST_EXEC_IN"
	if dir := os.Getenv(engine); dir != "" { // this is the engine
		t.Error(shell(t, dir, `echo $$ >"$1/part"; mv "$1/part" "$1/pid"; exec sleep 300`, nil).Send(t.Context(), note(`{}`)))
		return
	}
	dir := t.TempDir()
	killed := exec.Command(os.Args[0], "-test.run=^TestInvariant4AnExecEndsWithTheEngine$")
	killed.Env = append(os.Environ(), engine+"="+dir)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	file, end := filepath.Join(dir, "pid"), time.Now().Add(30*time.Second)
	for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
		if time.Now().After(end) {
			t.Fatal("the program did not begin")
		}
		time.Sleep(10 * time.Millisecond)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(content(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // it was killed
	for end := time.Now().Add(10 * time.Second); !ended(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the program goes on")
		}
	}
}

// ended says whether a process is gone, or waits only for whoever has inherited it.
func ended(pid int) bool {
	state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(state), ") Z ")
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// headroom is what the Go runtime takes for itself while the heap grows.
const headroom = 32 << 20

// refuseMore has the kernel refuse address space beyond so many bytes more than the process has now. Go reserves some before its heap
// grows, 64 MiB at a time, so it is refused before anything is written, and the runtime ends the process. It has reserved more
// than a gigabyte at its start, which is why the limit is set from here on. RLIMIT_DATA would not do: where Go maps memory in the place
// of what it has reserved, the kernel does not ask for it, and then the next that takes a page fails, whoever that is.
func refuseMore(more int) bool {
	now, ok := addressSpace()
	if !ok {
		return false
	}
	limit := uint64(now) + uint64(more*shadow()+headroom+threads())
	return unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}) == nil
}

// shadow is what a byte of the heap takes of the system: the race detector, which tests are run with, takes some more for each.
func shadow() int {
	if built("-race") == "true" {
		return 4
	}
	return 1
}

// threads is what the stacks of threads may take that are still to come: with cgo they are not Go's.
func threads() int {
	if built("CGO_ENABLED") == "1" {
		return (runtime.GOMAXPROCS(0) + 8) * 8 << 20
	}
	return 0
}

// built gives a setting that the program was built with.
func built(setting string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == setting {
			return s.Value
		}
	}
	return ""
}

// addressSpace is what RLIMIT_AS counts, in bytes.
func addressSpace() (int, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, after, _ := bytes.Cut(status, []byte("\nVmSize:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0, false
	}
	kib, err := strconv.Atoi(string(fields[0]))
	return kib << 10, err == nil
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// watch lets Memory look at a program. The file is opened at once: later the program may hide itself, as adapters do, and /proc may
// show to nobody what has hidden itself (systemd's ProtectProc).
func (p *Process) watch() {
	p.status, _ = os.Open("/proc/" + strconv.Itoa(p.PID) + "/status") // without it, Memory tells nothing
}

// Memory is what the program has taken for itself: memory that nothing else can use, and swap. Not known: it has ended, or the system
// does not tell.
func (p *Process) Memory() (used int64, known bool) {
	if p.status == nil {
		return 0, false
	}
	text := make([]byte, 64<<10)     // read at once, lest it changes between; before the lines that count is that of the user's groups
	n, _ := p.status.ReadAt(text, 0) // the end of the file comes before that of the buffer
	for line := range bytes.Lines(text[:n]) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "RssAnon" && string(name) != "VmSwap" {
			continue
		}
		kilobytes, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0, false
		}
		used, known = used+kilobytes<<10, true
	}
	return used, known
}

// AllMemory is how much there is for all processes of this machine, or of the container or service that the engine runs in if that is
// less. 0: not known.
func AllMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	all := int64(min(uint64(info.Totalram)*uint64(info.Unit), math.MaxInt64)) //nolint:unconvert // of 32 bits on some systems
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) { // 0::/system.slice/rounds.service, or with version 1 4:memory:/docker/…
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		root, file := "/sys/fs/cgroup", "memory.max"
		switch controllers {
		case "":
		case "memory":
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for ; ; group = path.Dir(group) { // those that it is part of have limits of their own
			text, _ := os.ReadFile(path.Join(root, group, file))
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 { // else "max"
				all = min(all, limit)
			}
			if group == "/" || group == "." || group == "" {
				break
			}
		}
	}
	return all
}

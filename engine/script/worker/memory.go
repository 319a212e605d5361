// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Memory is what the mappings of a worker may take together, in bytes, beside what the program takes that does nothing.
const Memory = 256 << 20

// outOfMemory is what a worker that sees that it takes too much writes to stderr, as the Go runtime does when the system refuses more.
const outOfMemory = "fatal error: out of memory: more than the worker may take\n"

// limitMemory ends the process when it takes more than so many bytes beyond what it takes now. Where the system can refuse more it
// is asked to, which also holds for what is taken in one piece; where it can't, the process looks at itself.
func limitMemory(bytes int) {
	now := taken()
	// Garbage is collected in time, before it counts.
	debug.SetMemoryLimit(int64(now) + int64(bytes)*3/4)
	if !refuseMore(bytes) {
		go watch(now + uint64(bytes))
	}
}

// taken is what the Go runtime has of the system and has not given back.
func taken() uint64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return m[0].Value.Uint64() - m[1].Value.Uint64()
}

// watch ends the process once it takes more than so many bytes.
func watch(bytes uint64) {
	for range time.Tick(20 * time.Millisecond) {
		if taken() > bytes {
			_, _ = os.Stderr.WriteString(outOfMemory) // the engine reads it
			os.Exit(2)
		}
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"io"

	"golang.org/x/sys/unix"
)

// stage reads the rest of a body, of which read bytes are in parts and which ends before most. It goes into memory of its own, which is given
// back to the system bit by bit while the whole is put together, so that there are never two of it.
func stage(parts [][]byte, read int, body io.Reader, most int64) ([]byte, error) {
	rest, err := unix.Mmap(-1, 0, int(most)+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, errNoStage
	}
	defer unix.Munmap(rest) //nolint:errcheck // it fails for what Mmap did not give only
	n, _, err := fill(rest, body)
	if err != nil {
		return nil, err
	}
	whole := make([]byte, read+n)
	to := whole
	for _, part := range parts {
		to = to[copy(to, part):]
	}
	const bit = 1 << 20 // a whole number of the system's pages
	for from := 0; from < n; from += bit {
		some := rest[from:min(from+bit, len(rest))]
		to = to[copy(to, some):]
		_ = unix.Madvise(some, unix.MADV_DONTNEED) // else it takes more memory for a moment
	}
	return whole, nil
}

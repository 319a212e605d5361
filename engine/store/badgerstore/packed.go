// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package badgerstore

import "github.com/klauspost/compress/s2"

// maxPacked is the most bytes of one part: what is larger than a commit was never written.
const maxPacked = 32 << 20

// packed writes parts compressed together. A notification is written when it is committed and again when it is among the delivered
// ones: what is saved here is saved twice, in the logs as well as in the tables, for one compression.
func (e *encoder) packed(parts ...[]byte) {
	var all []byte
	for _, p := range parts {
		e.uint(uint64(len(p)))
		switch {
		case len(all) == 0:
			all = p[:len(p):len(p)] // mostly there is one part, or there are some that have to be copied
		default:
			all = append(all, p...)
		}
	}
	if len(all) > 0 {
		e.bytes(s2.Encode(nil, all))
	}
}

// packed reads what encoder.packed wrote.
func (d *decoder) packed(parts ...*[]byte) {
	lengths, total := make([]uint64, len(parts)), uint64(0)
	for i := range parts {
		lengths[i] = d.uint()
		if lengths[i] > maxPacked {
			d.fail()
			return
		}
		total += lengths[i]
	}
	if total == 0 {
		return
	}
	block := d.bytes()
	if n, err := s2.DecodedLen(block); err != nil || uint64(n) != total {
		d.fail()
		return
	}
	all, err := s2.Decode(nil, block)
	if err != nil {
		d.fail()
		return
	}
	for i, p := range parts {
		if n := lengths[i]; n > 0 {
			*p, all = all[:n:n], all[n:]
		}
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// A body is read in parts, which take its size once more when they are put together: beyond modestBody it is read into a buffer of the length
// that the server said, or what comes is staged, where the system can do that.
const (
	firstPart  = 512
	modestBody = 4 << 20
)

var errNoStage = errors.New("there is no stage on this system")

// readAll reads up to one byte more than limit, so that an answer that is too large takes no more memory than that. A length that the
// server says is believed once modestBody has come.
func readAll(answer *http.Response, limit int64) ([]byte, error) {
	body := io.LimitReader(answer.Body, limit+1)
	size := int(min(max(answer.ContentLength, firstPart), modestBody) + 1) // one more, to see the end
	var parts [][]byte
	for read := 0; ; size = min(2*size, modestBody) {
		switch {
		case read <= modestBody:
		case answer.ContentLength > modestBody:
			return known(parts, int(min(answer.ContentLength, limit)+1), body)
		default:
			whole, err := stage(parts, read, body, limit+1)
			if !errors.Is(err, errNoStage) {
				return whole, err
			}
		}
		part := make([]byte, size)
		n, end, err := fill(part, body)
		switch {
		case err != nil:
			return nil, err
		case end && parts == nil:
			return part[:n], nil
		case end:
			return bytes.Join(append(parts, part[:n]), nil), nil
		}
		parts, read = append(parts, part), read+n
	}
}

// known reads the rest of a body of a known length, of which some is in parts.
func known(parts [][]byte, length int, body io.Reader) ([]byte, error) {
	whole := make([]byte, length)
	read := 0
	for _, part := range parts {
		read += copy(whole[read:], part)
	}
	n, _, err := fill(whole[read:], body)
	if err != nil {
		return nil, err
	}
	return whole[:read+n], nil
}

// fill reads until part is full or the body ends.
func fill(part []byte, body io.Reader) (n int, end bool, err error) {
	for n < len(part) {
		m, err := body.Read(part[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/rogpeppe/go-internal/diff"
)

// jsonDiff shows in what lines a golden file and what a mapping made differ, empty if they say the same. How they are laid out and
// the order of members do not count; the digits of numbers do.
func jsonDiff(name string, golden, got []byte) string {
	want, err := canonical(golden)
	if err != nil {
		return name + " is not valid JSON"
	}
	made, err := canonical(got)
	if err != nil {
		return "the mapping made no valid JSON"
	}
	lines := diff.Diff(name, want, "mapped", made)
	_, lines, _ = bytes.Cut(lines, []byte("\n")) // which says that it is a diff
	return string(lines)
}

// canonical writes a document in one way, a line for each value.
func canonical(doc []byte) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(doc))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	var out bytes.Buffer
	to := json.NewEncoder(&out)
	to.SetEscapeHTML(false)
	to.SetIndent("", "  ")
	err := to.Encode(value)
	return out.Bytes(), err
}

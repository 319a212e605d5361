// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// The bounds of context.changed. What is beyond them is told by the name of what it is in.
const (
	changedPaths = 256 // of each part of the record: change.data, and what was fetched under each label
	changedDepth = 32  // members in one another
)

// changed gives the dotted paths of what differs between two states of a record, in change.data and in what was fetched:
// "change.data.start", "fetched.patient.phones.0". A path leads to the innermost value that has a counterpart: where a member
// or an element is missing on one side, or the values are of different kinds, it ends there. Numbers are compared by their
// digits, as they are when a change is told from what was seen. The paths of each part are sorted by name and by index.
func changed(previous, current *record.Record) []string {
	if previous == nil {
		return nil
	}
	paths := differences("change.data", previous.Change.Data, current.Change.Data)
	labels := maps.Clone(previous.Fetched)
	if labels == nil {
		labels = map[string]json.RawMessage{}
	}
	maps.Copy(labels, current.Fetched)
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		paths = append(paths, differences("fetched."+label, previous.Fetched[label], current.Fetched[label])...)
	}
	return paths
}

// differences are the paths within one part of the record. A part that is not there is null.
func differences(part string, a, b []byte) []string {
	if rawjson.IsNull(a) && rawjson.IsNull(b) {
		return nil
	}
	d := &differ{}
	d.compare(part, bytes.TrimSpace(a), bytes.TrimSpace(b), 0)
	if len(d.paths) > changedPaths {
		return []string{part}
	}
	return d.paths
}

// differ collects paths; it stops when there are too many of them.
type differ struct{ paths []string }

func (d *differ) compare(path string, a, b []byte, depth int) {
	switch {
	case len(d.paths) > changedPaths || bytes.Equal(a, b):
	case len(a) == 0 || len(b) == 0 || a[0] != b[0]:
		d.differ(path, a, b)
	case a[0] == '{' && depth < changedDepth:
		d.members(path, a, b, depth)
	case a[0] == '[' && depth < changedDepth:
		d.elements(path, a, b, depth)
	default:
		d.differ(path, a, b)
	}
}

// differ adds a path, unless the values are only written differently.
func (d *differ) differ(path string, a, b []byte) {
	if len(a) == 0 || len(b) == 0 || rawjson.Hash(a) != rawjson.Hash(b) {
		d.paths = append(d.paths, path)
	}
}

func (d *differ) members(path string, a, b []byte, depth int) {
	left, right := maps.Collect(rawjson.Members(a)), maps.Collect(rawjson.Members(b))
	names := slices.AppendSeq(slices.Collect(maps.Keys(left)), maps.Keys(right))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		d.compare(path+"."+name, left[name], right[name], depth+1)
	}
}

func (d *differ) elements(path string, a, b []byte, depth int) {
	left, right := slices.Collect(rawjson.Elements(a)), slices.Collect(rawjson.Elements(b))
	for i := range max(len(left), len(right)) {
		var x, y []byte
		if i < len(left) {
			x = left[i]
		}
		if i < len(right) {
			y = right[i]
		}
		d.compare(path+"."+strconv.Itoa(i), x, y, depth+1)
	}
}

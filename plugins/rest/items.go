// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// dotted is a path into JSON: names of members and numbers of elements.
type dotted []string

func (d dotted) String() string { return strings.Join(d, ".") }

func parseDotted(s string) (dotted, error) {
	if s == "" {
		return nil, nil
	}
	d := dotted(strings.Split(s, "."))
	if slices.Contains(d, "") {
		return nil, errors.New("an empty name")
	}
	return d, nil
}

// read makes changes of an answer's items, finds what is embedded in them, and notes their times. An item that can't be read is
// a change with an error; an answer without the array of items is an error. Of an answer that is to be given in parts it gives no changes:
// its items are put into a.
//
// Pages that shift are not given in parts: how much they shift is told by how large they are.
func (f *feed) read(body []byte, p *position, a *answer) (page sdk.Page, err error) {
	array, err := f.array(body)
	if err != nil {
		return page, err
	}
	var asked time.Time
	if !p.Since.IsZero() && !f.scan {
		asked, _, _ = f.format.Parse(f.format.Since(p.Since)) // what it writes, it reads
	}
	large := len(array) > 2*partSize && !f.page.drifts()
	cuts := cutter{first: map[string]int{}, last: map[int]int{}}
	n, unversioned, older := 0, 0, 0
	for item := range rawjson.Elements(array) {
		c, early, late := f.change(item, n, a.now)
		if c.Err == nil {
			p.Reading.Saw(early)
			if late.Before(asked) {
				older++
			}
			if f.version != nil && c.Version == "" {
				unversioned++
			}
		}
		if large {
			a.items = append(a.items, item)
			cuts.saw(c.Ref.ID, n)
		}
		if !large || f.include != nil {
			page.Changes = append(page.Changes, c)
		}
		n++
	}
	if older > 0 {
		page.Notes = append(page.Notes, sdk.Note{Code: "filter-ignored", Text: fmt.Sprintf("%d of %d items are older than what was asked for: "+
			"the server ignores {since}, or since.format or since.zone are wrong", older, n)})
	}
	if unversioned > 0 {
		page.Notes = append(page.Notes, sdk.Note{Code: "version-missing",
			Text: fmt.Sprintf("%d of %d items have no version at %q", unversioned, n, f.version)})
	}
	included, notes := f.embedded(page.Changes)
	page.Notes = append(page.Notes, notes...)
	if !large {
		page.Included = included
		return page, nil
	}
	page.Changes = nil
	a.sum, a.begins, a.included = sum(array), cuts.cut(a.items), make(map[sdk.Ref]sdk.Result, len(included))
	for _, r := range included {
		a.included[r.Ref] = r
	}
	return page, nil
}

// change makes a change of an item, the nth of the answer counted from 0. early and late are its time, and differ where its local time exists
// twice.
func (f *feed) change(item []byte, n int, now time.Time) (c sdk.Change, early, late time.Time) {
	c = sdk.Change{Ref: sdk.Ref{Kind: f.name}, Op: sdk.Upsert, Data: item}
	early, late, err := f.item(item, &c)
	if err != nil {
		c.Err = sdk.Permanent("%s: item %d of the page: %s", f.request, n+1, err)
		return c, early, late
	}
	if c.Time = late; late.After(now.Add(time.Second)) { // a Date header is cut to the second
		c.Time = early
	}
	return c, early, late
}

// array finds the items of an answer.
func (f *feed) array(body []byte) ([]byte, error) {
	array, ok := rawjson.Get(body, f.items...)
	switch {
	case ok && len(array) > 0 && array[0] == '[':
		return array, nil
	case f.items == nil:
		return nil, sdk.Retryable("%s: the answer is not an array: found %s; is items missing?", f.request, rawjson.Found(array, ok))
	}
	return nil, sdk.Retryable("%s: no array at %q: found %s", f.request, f.items, rawjson.Found(array, ok))
}

// item reads identifier, version and time of an item; early and late differ where its local time exists twice. The error's text
// tells paths and types, never values.
func (f *feed) item(item []byte, c *sdk.Change) (early, late time.Time, err error) {
	var found [3][]byte
	rawjson.GetAll(item, f.paths[:], found[:])
	id, version, at := found[0], found[1], found[2]
	if c.Ref.ID, _ = rawjson.Text(id); c.Ref.ID == "" {
		return early, late, fmt.Errorf("no identifier at %q: found %s", f.id, rawjson.Found(id, id != nil))
	}
	if f.version != nil {
		c.Version, _ = rawjson.Text(version)
	}
	if f.time == nil {
		return early, late, nil
	}
	text, _ := rawjson.Text(at)
	if text == "" {
		return early, late, fmt.Errorf("no time at %q: found %s", f.time, rawjson.Found(at, at != nil))
	}
	if early, late, err = f.format.Parse(text); err != nil {
		return early, late, fmt.Errorf("the time at %q is neither %s nor RFC 3339", f.time, f.written)
	}
	return early, late, nil
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// reading is a window that was read to its end.
type reading struct {
	feed      sdk.Feed
	queries   []sdk.Query // of each page
	pages     []sdk.Page
	changes   []sdk.Change // of all pages
	watermark []byte
}

var errEndless = errors.New("the window has no end")

// read reads a window, from q on.
func (s *source) read(q sdk.Query) (*reading, error) {
	r := &reading{feed: s.feed(q.Feed)}
	cursors := map[string]bool{}
	for {
		page, err := s.poll(q)
		if err != nil {
			return nil, fmt.Errorf("feed %s, page %d: %w", q.Feed, len(r.pages)+1, err)
		}
		r.queries, r.pages, r.changes = append(r.queries, q), append(r.pages, page), append(r.changes, page.Changes...)
		if len(page.Cursor) == 0 {
			r.watermark = page.Watermark
			return r, nil
		}
		if cursors[string(page.Cursor)] {
			s.k.wrong("feed %s: page %d gives a cursor that an earlier page of its window gave", q.Feed, len(r.pages))
			return nil, fmt.Errorf("feed %s: %w, its cursors repeat", q.Feed, errEndless)
		}
		if len(r.pages) == maxPages {
			return nil, fmt.Errorf("feed %s: %w within %d pages; begin later, or test with fewer records", q.Feed, errEndless, maxPages)
		}
		cursors[string(page.Cursor)] = true
		q.Cursor = page.Cursor
		q.Recover = false // as after the commit of the page
	}
}

// after is the query for the next window.
func (r *reading) after(overlap time.Duration) sdk.Query {
	q := r.queries[0]
	q.Cursor, q.Watermark, q.Overlap, q.Limit = nil, r.watermark, overlap, 0
	return q
}

// newest is the time of the newest change; zero: none has one.
func (r *reading) newest() (t time.Time) {
	for _, c := range r.changes {
		if c.Time.After(t) {
			t = c.Time
		}
	}
	return t
}

// since are the changes of that instant and later.
func (r *reading) since(t time.Time) (changes []sdk.Change) {
	for _, c := range r.changes {
		if !c.Time.IsZero() && !c.Time.Before(t) {
			changes = append(changes, c)
		}
	}
	return changes
}

// ties are the instants that several changes have, newest first.
func (r *reading) ties() (ties []time.Time) {
	count := map[time.Time]int{}
	for _, c := range r.changes {
		if !c.Time.IsZero() {
			count[c.Time]++
		}
	}
	for t, n := range count {
		if n > 1 {
			ties = append(ties, t)
		}
	}
	slices.SortFunc(ties, func(a, b time.Time) int { return b.Compare(a) })
	return ties
}

// key is what the engine tells changes of a feed apart by.
func key(f sdk.Feed, c sdk.Change) string {
	parts := []string{c.Ref.Kind, c.Ref.ID, c.Ref.Args, string(c.Op), c.Time.Format(time.RFC3339Nano), string(sdk.CodeOf(c.Err))}
	if f.Version != sdk.None {
		parts = append(parts, c.Version)
	}
	if f.Version != sdk.Exact && len(c.Data) > 0 {
		parts = append(parts, fmt.Sprintf("%x", rawjson.HashWithout(c.Data, rawjson.ParsePaths(f.Ignore))))
	}
	return strings.Join(parts, "\x00")
}

// lacking counts the changes of want that got has not.
func lacking(f sdk.Feed, want, got []sdk.Change) (n int) {
	have := map[string]bool{}
	for _, c := range got {
		have[key(f, c)] = true
	}
	for _, c := range want {
		if !have[key(f, c)] {
			n++
		}
	}
	return n
}

// differ says how two readings of the same differ, "" if they don't. The order of records does not count, that of the changes
// of one record does. No values are told.
func differ(f sdk.Feed, a, b []sdk.Change) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d changes instead of %d", len(b), len(a))
	}
	byRef := func(x, y sdk.Change) int {
		return strings.Compare(x.Ref.Kind+"\x00"+x.Ref.ID, y.Ref.Kind+"\x00"+y.Ref.ID)
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortStableFunc(a, byRef)
	slices.SortStableFunc(b, byRef)
	for i := range a {
		if key(f, a[i]) == key(f, b[i]) {
			continue
		}
		return "a change is another one: " + difference(f, a[i], b[i])
	}
	return ""
}

// difference names the first field in which changes differ.
func difference(f sdk.Feed, a, b sdk.Change) string {
	switch {
	case a.Ref != b.Ref:
		return "its ref differs"
	case a.Version != b.Version && f.Version != sdk.None:
		return "its version differs"
	case a.Op != b.Op:
		return "its operation differs"
	case !a.Time.Equal(b.Time):
		return "its time differs"
	case sdk.CodeOf(a.Err) != sdk.CodeOf(b.Err):
		return "its error differs"
	}
	return "its data differ (if they differ at each reading, leave out what does, or name it in Feed.Ignore)"
}

// sameMark says whether two watermarks say the same.
func sameMark(a, b []byte) bool {
	if json.Valid(a) && json.Valid(b) {
		return rawjson.Hash(a) == rawjson.Hash(b)
	}
	return string(a) == string(b)
}

// wrong takes note of a breach of the contract on pages.
func (k *kit) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.contract) < 10 && !slices.Contains(k.contract, text) {
		k.contract = append(k.contract, text)
	}
}

// inspect looks at one page, and takes note of what its records hold.
func (k *kit) inspect(f sdk.Feed, page sdk.Page) {
	if len(page.Cursor) == 0 && len(page.Watermark) == 0 {
		k.wrong("feed %s: a page has neither a cursor nor a watermark", f.Name)
	}
	if len(page.Cursor) > 0 && len(page.Watermark) > 0 {
		k.wrong("feed %s: a page that has a cursor carries a watermark as well, which belongs on the window's last page", f.Name)
	}
	if page.Complete && f.Class != sdk.Scan {
		k.wrong("feed %s: a page is Complete, which only a scan's last page may be", f.Name)
	}
	if page.Wait < 0 || page.Calls < 0 {
		k.wrong("feed %s: Wait or Calls of a page is negative", f.Name)
	}
	last := map[sdk.Ref]time.Time{}
	for _, c := range page.Changes {
		k.watch.id(c.Ref)
		k.learn(c.Data)
		if c.Err != nil {
			if c.Err.Error() == notJSON {
				k.wrong("feed %s: a change has data that are not valid JSON", f.Name)
			}
			continue
		}
		switch {
		case c.Ref.ID == "":
			k.wrong("feed %s: a change without error has no id", f.Name)
		case c.Ref.Kind == "":
			k.wrong("feed %s: a change has no kind", f.Name)
		case len(c.Data) == 0 && c.Op != sdk.Deleted:
			if f.Version == sdk.None {
				k.wrong("feed %s: a change has neither data nor a version that counts, so that nothing tells whether it is new", f.Name)
			}
		}
		if t := last[c.Ref]; !c.Time.IsZero() && c.Time.Before(t) {
			k.wrong("feed %s: the changes of one record are not listed oldest first", f.Name)
		}
		last[c.Ref] = c.Time
	}
	for _, r := range page.Included {
		k.watch.id(r.Ref)
		k.learn(r.Data)
		if r.Err == nil && len(r.Data) == 0 {
			k.wrong("feed %s: an included result has neither data nor an error", f.Name)
		}
		if len(k.catalog.Resources) > 0 && !slices.ContainsFunc(k.catalog.Resources, func(known sdk.Resource) bool { return known.Name == r.Ref.Kind }) {
			k.wrong("feed %s: an included result is of no resource that the catalog has", f.Name)
		}
	}
	for _, n := range page.Notes {
		if n.Code == "" || n.Text == "" {
			k.wrong("feed %s: a note has no code, or no text", f.Name)
		}
	}
}

// versions looks at a feed whose versions are exact, and which lists all of them: it uses none twice.
func (r *reading) versions() (problem string) {
	if !r.feed.History || r.feed.Version != sdk.Exact {
		return ""
	}
	seen := map[string]bool{}
	for _, c := range r.changes {
		version := c.Ref.Kind + "\x00" + c.Ref.ID + "\x00" + c.Version
		if c.Version != "" && seen[version] {
			return fmt.Sprintf("feed %s, with History and Exact versions, lists a version of a record twice in one window", r.feed.Name)
		}
		seen[version] = true
	}
	return ""
}

// notJSON is what sdk.Client says of a record whose data are not JSON.
const notJSON = "the adapter gave data that are not valid JSON"

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

// A large answer, as of an API without pages, takes several times its size on its way through the engine. So it is given in parts, which
// are pages of the window to the engine, and kept here meanwhile, as it came. When it is gone, as after a restart, it is asked for again:
// if it is the same reading goes on where it was, else the cursor has expired.
var (
	partSize = 2 << 20  // bytes of a part's items; of answers of twice as many
	mostHeld = 64 << 20 // bytes of all answers that are kept in the process, or one alone; what finds no room is given whole
	// An answer is kept until none of its parts was asked for so long; shorter when the last one was given, which is asked for again if it
	// could not be taken.
	keptIdle = 10 * time.Minute
	keptDone = 30 * time.Second
)

// part is a place in an answer that is given in parts.
type part struct {
	Answer string   `json:"answer"` // its sum
	Item   int      `json:"item"`   // with which it goes on
	Then   position `json:"then"`   // where reading stands after the answer; without a next page if it was the last
}

// answer is one that is given in parts.
type answer struct {
	sum      string
	size     int      // of the body
	items    [][]byte // which lie in the body
	begins   []int    // the items with which parts begin, but the first
	now      time.Time
	date     time.Time // the server's clock when it came; zero: it does not tell
	came     time.Time
	included map[sdk.Ref]sdk.Result

	gone *time.Timer
}

// end gives the item before which the part ends that begins with an item.
func (a *answer) end(item int) int {
	for _, begin := range a.begins {
		if begin > item {
			return begin
		}
	}
	return len(a.items)
}

// give gives the part at p.
func (s *source) give(f *feed, a *answer, p position, mark window.Mark) (page sdk.Page, err error) {
	at := *p.Part
	if at.Item < 0 || at.Item >= len(a.items) {
		return page, sdk.CursorExpired("the cursor of feed %q is none of this adapter's; the window is read again", f.name)
	}
	end := a.end(at.Item)
	for i, item := range a.items[at.Item:end] {
		c, _, _ := f.change(item, at.Item+i, a.now)
		page.Changes = append(page.Changes, c)
	}
	page.Included, _ = f.embedded(page.Changes)
	for i, r := range page.Included { // the copy in the newest item counts, in whatever part that is
		page.Included[i] = a.included[r.Ref]
	}
	if !a.date.IsZero() {
		page.Now = a.date.Add(time.Since(a.came))
	}
	if end == len(a.items) {
		shelved.done(place{s, f.name, a.sum})
		return page, f.finish(&page, at.Then, mark)
	}
	at.Item = end
	p.Part = &at
	page.Cursor, err = p.cursor(f)
	return page, err
}

// cutter finds where an answer may be cut.
type cutter struct {
	first map[string]int // where each record comes first
	last  map[int]int    // by that, where those come last that come again
}

// saw takes note of the record of an item.
func (c *cutter) saw(id string, item int) {
	if first, again := c.first[id]; again {
		c.last[first] = item
	} else if id != "" {
		c.first[id] = item
	}
}

// cut gives the items with which parts begin, but the first. All states of one record are in one part: their order, and what was seen
// before, show only on one page.
func (c *cutter) cut(items [][]byte) (begins []int) {
	size, together := 0, 0
	for i, item := range items {
		if size >= partSize && i > together {
			begins, size = append(begins, i), 0
		}
		size += len(item)
		together = max(together, c.last[i])
	}
	return begins
}

// sum tells the items of an answer from others.
func sum(array []byte) string {
	h := sha256.Sum256(array)
	return hex.EncodeToString(h[:16])
}

// cursor writes a position down.
func (p position) cursor(f *feed) (json.RawMessage, error) {
	cursor, err := json.Marshal(p)
	if err != nil {
		return nil, sdk.Permanent("%s: the place in the window can't be written down", f.request).Because(err)
	}
	return cursor, nil
}

// shelf holds answers that are given in parts.
type shelf struct {
	mu   sync.Mutex
	held map[place]*answer
	size int

	percent int // of garbage, while nothing is kept
}

type place struct {
	source *source
	feed   string
	sum    string
}

// shelved are those of all sources of the process, whose memory is one.
var shelved shelf

// put keeps an answer, unless there is no room for it.
func (s *shelf) put(at place, a *answer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(at) // the same, which came before
	if s.size > 0 && s.size+a.size > mostHeld {
		return false
	}
	if s.held == nil {
		s.held = map[place]*answer{}
	}
	s.held[at] = a
	s.weigh(a.size)
	a.gone = time.AfterFunc(keptIdle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held[at] == a {
			s.drop(at)
		}
	})
	return true
}

// get gives an answer that is kept; nil: it is gone.
func (s *shelf) get(at place) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.held[at]
	if a != nil {
		a.gone.Reset(keptIdle)
	}
	return a
}

// done says that the last part was given.
func (s *shelf) done(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.held[at]; a != nil {
		a.gone.Reset(keptDone)
	}
}

// clear drops what is kept for a source.
func (s *shelf) clear(of *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.held {
		if at.source == of {
			s.drop(at)
		}
	}
}

func (s *shelf) drop(at place) {
	if a := s.held[at]; a != nil {
		a.gone.Stop()
		s.weigh(-a.size)
		delete(s.held, at)
	}
}

// keptGC is how much garbage there may be, in percent of what is in use, before it is collected while answers are kept: what lies still says
// nothing of how much calls throw away.
const keptGC = 15

// weigh adds to the size of what is kept.
func (s *shelf) weigh(size int) {
	was := s.size
	s.size += size
	switch {
	case was == 0:
		s.percent = debug.SetGCPercent(keptGC)
	case s.size == 0:
		if now := debug.SetGCPercent(s.percent); now != keptGC { // somebody else has set it meanwhile
			debug.SetGCPercent(now)
		}
	}
}

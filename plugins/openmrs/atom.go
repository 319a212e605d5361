// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package openmrs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// maxPage is the size of a page of a feed, in bytes. Pages have five entries unless the server is configured otherwise.
const maxPage = 16 << 20

// atomPage is a page of a feed, as far as it is read.
type atomPage struct {
	XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
	Links   []struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	} `xml:"http://www.w3.org/2005/Atom link"`
	Entries []atomEntry `xml:"http://www.w3.org/2005/Atom entry"`
}

// atomEntry is an event.
type atomEntry struct {
	ID         string `xml:"http://www.w3.org/2005/Atom id"`
	Title      string `xml:"http://www.w3.org/2005/Atom title"`
	Updated    string `xml:"http://www.w3.org/2005/Atom updated"`
	Content    string `xml:"http://www.w3.org/2005/Atom content"`
	Categories []struct {
		Term string `xml:"term,attr"`
	} `xml:"http://www.w3.org/2005/Atom category"`
}

// parsePage reads a page. encoding/xml knows no entities but XML's own, so that none can grow.
func parsePage(body []byte, named string) (*atomPage, error) {
	if len(body) > maxPage {
		return nil, sdk.Permanent("%s: a page of more than %d bytes", named, maxPage)
	}
	p := &atomPage{}
	// Spring sends text in ISO 8859-1 unless it is told otherwise; what is read of it is ASCII.
	if err := xml.Unmarshal(bytes.ToValidUTF8(body, []byte("\uFFFD")), p); err != nil {
		return nil, sdk.Retryable("%s: the answer is not a feed of Atom, or is cut off; is base_url that of OpenMRS, and may the user read it?",
			named).Because(err)
	}
	for i := range p.Entries {
		p.Entries[i].ID = strings.TrimSpace(p.Entries[i].ID)
	}
	return p, nil
}

// link gives the page number that a link leads to. Its host is that which the server takes for its own.
func (p *atomPage) link(rel string) (n int, ok bool) {
	for _, l := range p.Links {
		if l.Rel == rel {
			path, _, _ := strings.Cut(l.Href, "?")
			n, err := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}

// number is that of the recent page: 0 when there are no events.
func (p *atomPage) number() (int, bool) {
	if n, ok := p.link("via"); ok {
		return n, true
	}
	n, ok := p.link("prev-archive")
	return n + 1, ok
}

// find gives the place of an entry on the page; -1: it is not there.
func (p *atomPage) find(id string) int {
	for i := len(p.Entries) - 1; i >= 0; i-- {
		if p.Entries[i].ID == id {
			return i
		}
	}
	return -1
}

// before says whether all of the page is dated before an instant.
func (p *atomPage) before(t time.Time) bool {
	for _, e := range p.Entries {
		if !dated(e, t) {
			return false
		}
	}
	return true
}

// dated says whether an entry is known to be of before t.
func dated(e atomEntry, t time.Time) bool {
	at := e.time()
	return !at.IsZero() && at.Before(t)
}

// time is when the event was stored; zero: that can't be read.
func (e *atomEntry) time() time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		// A year that JSON can't hold comes of an offset.
		if t, err := time.Parse(layout, strings.TrimSpace(e.Updated)); err == nil && t.UTC().Year() > 0 && t.UTC().Year() < 10000 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// actions are the terms by which the newer module tells what was done (its EventAction). Whether a voided record is of use to somebody
// is not for the adapter to say.
var actions = map[string]sdk.Op{"CREATED": sdk.Created, "UPDATED": sdk.Updated, "DELETED": sdk.Deleted, "VOIDED": sdk.Updated,
	"UNVOIDED": sdk.Updated, "RETIRED": sdk.Updated, "UNRETIRED": sdk.Updated}

// event is what a change's data are: the record itself has to be fetched.
type event struct {
	Entry      string          `json:"entry"`
	Title      string          `json:"title,omitempty"`
	Categories []string        `json:"categories,omitempty"`
	Updated    string          `json:"updated,omitempty"`
	Path       string          `json:"path,omitempty"`  // of the record
	Links      json.RawMessage `json:"links,omitempty"` // paths of the record, by kind
}

// change makes a change of an entry.
func (e *atomEntry) change(kind, named string) sdk.Change {
	v := event{Entry: e.ID, Title: strings.TrimSpace(e.Title), Updated: strings.TrimSpace(e.Updated), Path: strings.TrimSpace(e.Content)}
	c := sdk.Change{Ref: sdk.Ref{Kind: kind}, Version: e.ID, Time: e.time()}
	if doc := []byte(v.Path); strings.HasPrefix(v.Path, "{") && rawjson.Valid(doc) {
		v.Links, v.Path = doc, ""
		for _, name := range []string{"rest", "fhir"} {
			if raw, ok := rawjson.Get(doc, name); ok && v.Path == "" {
				v.Path, _ = rawjson.Text(raw)
			}
		}
	}
	for _, category := range e.Categories {
		for term := range strings.SplitSeq(category.Term, ",") { // the tags of an event are one text in its table
			if term = strings.TrimSpace(term); term != "" {
				v.Categories = append(v.Categories, term)
				if op, ok := actions[term]; ok {
					c.Event, c.Op = term, op
				}
			}
		}
	}
	c.Ref.ID = recordOf(v.Path)
	c.Data, _ = json.Marshal(v) // it holds texts and valid JSON
	if c.Ref.ID == "" || e.ID == "" {
		c.Err = sdk.Permanent("%s: an entry without an id, or whose content is not the path of a record", named)
	}
	return c
}

// recordOf gives the UUID that a record's path ends with. UUIDs of OpenMRS need not be those of RFC 4122.
func recordOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	id := path[strings.LastIndexByte(path, '/')+1:]
	if !isSegment(id) || len(id) == len(path) || len(id) > 64 {
		return ""
	}
	return id
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package couchdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// A start of "now" is where the feed stands at the first poll, as documents have no times. After startLate that is worth a remark;
// after startLost it is another start than the one that was asked for.
const (
	startLate = 5 * time.Second
	startLost = 5 * time.Minute
)

// position is how far a database was read: what watermarks and cursors hold.
type position struct {
	Seq     json.RawMessage `json:"seq"`               // as the server wrote it
	Created string          `json:"created,omitempty"` // when the database was created, where the server tells
}

func (p position) bytes() []byte {
	b, _ := json.Marshal(p) // it holds valid JSON
	return b
}

// parsePosition reads a watermark or cursor.
func parsePosition(b []byte) (p position, ok bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return p, d.Decode(&p) == nil && !rawjson.IsNull(p.Seq)
}

// Poll reads one page.
func (s *source) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	f, ok := s.feeds[q.Feed]
	if !ok {
		return page, sdk.Permanent("feed %q is not configured", q.Feed)
	}
	var p position
	if len(q.Cursor) > 0 {
		if p, ok = parsePosition(q.Cursor); !ok {
			return page, sdk.CursorExpired("the stored place in the window is not that of a feed of CouchDB")
		}
	} else if p, err = s.begin(ctx, f, q, &page); err != nil {
		return page, err
	}
	for ; ; f.limit /= 2 { // an answer that is too large is asked for in smaller ones
		limit := strconv.Itoa(f.limit)
		query := url.Values{"since": {since(p.Seq)}, "limit": {limit}, "include_docs": {"true"}, "style": {"main_only"}, "seq_interval": {limit}}
		res, err := s.client.JSON(ctx, httpx.Request{URL: s.address(f.database, "/_changes?"+query.Encode()),
			Template: path(f.database) + "/_changes", Header: s.header})
		switch {
		case tooMuch(err) && f.limit > 1:
			page.Calls++
			continue
		case err != nil:
			return sdk.Page{}, refused(q, err)
		}
		page.Calls += res.Calls
		page.Now = res.Date
		return page, f.read(res.Body, p, &page)
	}
}

// begin finds where a window begins, and whether the database is still the one that was read.
func (s *source) begin(ctx context.Context, f feed, q sdk.Query, page *sdk.Page) (position, error) {
	res, err := s.client.JSON(ctx, httpx.Request{URL: s.address(f.database, ""), Template: path(f.database), Header: s.header})
	if err != nil {
		return position{}, err
	}
	page.Calls += res.Calls
	seq, ok := rawjson.Get(res.Body, "update_seq")
	if !ok || rawjson.IsNull(seq) {
		return position{}, sdk.Retryable("GET %s: the answer does not describe a database; is base_url that of a CouchDB?", path(f.database))
	}
	created := ""
	if !isNumber(seq) { // else it is when the process started
		raw, _ := rawjson.Get(res.Body, "instance_start_time")
		if created, _ = rawjson.Text(raw); created == "0" {
			created = ""
		}
	}
	if len(q.Watermark) == 0 {
		p := position{Seq: json.RawMessage("0"), Created: created}
		if !q.Start.At.IsZero() {
			p.Seq = json.RawMessage(`"now"`)
			return p, late(f, time.Since(q.Start.At), page)
		}
		return p, nil
	}
	p, ok := parsePosition(q.Watermark)
	switch {
	case !ok:
		return p, sdk.WatermarkExpired("the stored watermark is not that of a feed of CouchDB: another adapter wrote it")
	case isNumber(seq) != isNumber(p.Seq):
		return p, sdk.WatermarkExpired("GET %s: sequences have another form than those that were read: it is another server", path(f.database))
	case isNumber(seq) && less(seq, p.Seq):
		return p, sdk.WatermarkExpired("GET %s: the database is behind what was read of it: it was made anew, or restored", path(f.database))
	case created != "" && p.Created != "" && created != p.Created:
		return p, sdk.WatermarkExpired("GET %s: the database was deleted and created anew since it was read", path(f.database))
	case created != "":
		p.Created = created
	}
	return p, nil
}

// late judges a start that is not the beginning by its age.
func late(f feed, age time.Duration, page *sdk.Page) error {
	switch {
	case age > startLost || age < -startLost:
		return sdk.WatermarkExpired("GET %s/_changes: documents have no times, so that changes since an instant can't be told from "+
			"older ones; begin now or at the beginning", path(f.database))
	case age > startLate:
		page.Notes = append(page.Notes, sdk.Note{Code: "start-late", Text: "the feed begins with the first poll that the server answered, " +
			age.Round(time.Second).String() + " after the start; what changed between them is not seen"})
	}
	return nil
}

// refused turns the refusal of a sequence into what it means.
func refused(q sdk.Query, err error) error {
	var status *httpx.StatusError
	switch {
	case !errors.As(err, &status) || status.Status != http.StatusBadRequest:
		return err
	case len(q.Cursor) > 0:
		return sdk.CursorExpired("%s", err.Error()).Because(err)
	case len(q.Watermark) > 0:
		return sdk.WatermarkExpired("%s: the server does not take the sequence that was read last", err.Error()).Because(err)
	}
	return err
}

// read makes a page of an answer to a request from p on.
func (f feed) read(body []byte, p position, page *sdk.Page) error {
	results, _ := rawjson.Get(body, "results")
	last, ok := rawjson.Get(body, "last_seq")
	if len(results) == 0 || results[0] != '[' || !ok || rawjson.IsNull(last) {
		return sdk.Retryable("GET %s/_changes: the answer has no results and last_seq", path(f.database))
	}
	rows := 0
	for row := range rawjson.Elements(results) {
		rows++
		c := f.change(row)
		if !strings.HasPrefix(c.Ref.ID, "_design/") {
			page.Changes = append(page.Changes, c)
		}
	}
	pending, _ := rawjson.Get(body, "pending") // CouchDB since 2.0
	next := position{Seq: last, Created: p.Created}
	switch {
	case rows < f.limit || string(pending) == "0":
		page.Watermark = next.bytes()
	case bytes.Equal(last, p.Seq):
		return sdk.Retryable("GET %s/_changes: a full page that ends where it began, so reading on would never end", path(f.database))
	default:
		page.Cursor = next.bytes()
	}
	return nil
}

// change reads a row.
func (f feed) change(row []byte) sdk.Change {
	text := func(doc []byte, path ...string) string {
		raw, _ := rawjson.Get(doc, path...)
		s, _ := rawjson.Text(raw)
		return s
	}
	c := sdk.Change{Ref: sdk.Ref{Kind: f.name, ID: text(row, "id")}, Version: text(row, "changes", "0", "rev")}
	deleted := text(row, "deleted") == "true"
	doc, _ := rawjson.Get(row, "doc")
	there := len(doc) > 0 && doc[0] == '{'
	if rev := text(doc, "_rev"); there && rev != "" {
		// The document may be read after the row was made, and so be younger: what is delivered counts.
		c.Version, deleted = rev, text(doc, "_deleted") == "true"
	}
	switch {
	case c.Ref.ID == "" || c.Version == "":
		c.Data, c.Err = row, sdk.Permanent("GET %s/_changes: a row without an id or a revision", path(f.database))
	case deleted:
		c.Op = sdk.Deleted
		if there && says(doc) {
			c.Data = doc
		}
	case !there:
		c.Err = sdk.Retryable("GET %s/_changes: a row came without its document", path(f.database))
	default:
		c.Data = doc
	}
	return c
}

// says tells whether a tombstone holds anything but what makes it one.
func says(doc []byte) bool {
	for name := range rawjson.Members(doc) {
		if !strings.HasPrefix(name, "_") {
			return true
		}
	}
	return false
}

// since writes a sequence as a parameter.
func since(seq json.RawMessage) string {
	if text, ok := rawjson.Text(seq); ok {
		return text
	}
	return string(seq) // CouchDB 2.0 has lists
}

func isNumber(seq []byte) bool {
	return len(seq) > 0 && (seq[0] >= '0' && seq[0] <= '9' || seq[0] == '-')
}

// less compares two numbers without loss of digits.
func less(a, b []byte) bool {
	x, ok := new(big.Rat).SetString(string(a))
	y, too := new(big.Rat).SetString(string(b))
	return ok && too && x.Cmp(y) < 0
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// answer is what a call for what changed was answered.
type answer struct {
	changes     []sdk.Change
	more        bool
	asked, date time.Time // the server's clock; zero: it does not tell
	calls       int
}

func (a answer) page(notes []sdk.Note) sdk.Page {
	return sdk.Page{Changes: a.changes, Now: a.date, Calls: a.calls, Notes: notes}
}

func (f feed) template(rest string) string { return template + "/" + f.path + rest }

// read asks for what changed; look says that nothing is to be changed by it, whatever is missing.
func (s *source) read(ctx context.Context, f feed, look bool, r httpx.Request, query url.Values) (answer, error) {
	query.Set("limit", strconv.Itoa(s.config.PageSize))
	if len(s.config.Departments) > 0 {
		query.Set("departmentid", strings.Join(s.config.Departments, ","))
	}
	r.URL, r.Template = s.base+"/"+f.path+"/changed?"+query.Encode(), f.template("/changed")
	res, err := s.call(ctx, r)
	if sdk.CodeOf(err) == sdk.CodeForbidden {
		return answer{}, s.forbidden(ctx, f, look, err)
	}
	if err != nil {
		return answer{}, err
	}
	a := answer{asked: res.Asked, date: res.Date, calls: res.Calls}
	offset, _ := strconv.Atoi(query.Get("offset")) // none: the first page
	a.changes, a.more, err = f.parse(res.Body, offset, s.config.PageSize, res.Date)
	return a, err
}

// parse reads an answer to GET …/changed. There is more when it says so, by a next page or by how many there are in all, or is full.
func (f feed) parse(body []byte, offset, limit int, now time.Time) (changes []sdk.Change, more bool, err error) {
	list, found := rawjson.Get(body, f.list)
	if !found || list[0] != '[' {
		return nil, false, sdk.Retryable("GET %s: the answer has no list %q", f.template("/changed"), f.list)
	}
	for item := range rawjson.Elements(list) {
		changes = append(changes, f.change(item, now))
	}
	oldestFirst(changes)
	raw, _ := rawjson.Get(body, "next")
	next, _ := rawjson.Text(raw)
	raw, _ = rawjson.Get(body, "totalcount")
	text, _ := rawjson.Text(raw)
	total, _ := strconv.Atoi(text) // a number or a text; the answers of some years have none
	more = next != "" || len(changes) >= limit || len(changes) > 0 && total > offset+len(changes)
	return changes, more, nil
}

// change makes a change of an item. Identifiers are text: the API gives some as texts and some as numbers.
func (f feed) change(item []byte, now time.Time) sdk.Change {
	c := sdk.Change{Ref: sdk.Ref{Kind: f.describe.Kind}, Op: sdk.Upsert, Data: item}
	for _, name := range f.ids {
		raw, _ := rawjson.Get(item, name)
		if c.Ref.ID, _ = rawjson.Text(raw); c.Ref.ID != "" {
			break
		}
	}
	if c.Ref.ID == "" {
		c.Err = sdk.Permanent("GET %s: an item without %s", f.template("/changed"), strings.Join(f.ids, " or "))
	}
	if f.actor != "" {
		raw, _ := rawjson.Get(item, f.actor)
		c.Actor, _ = rawjson.Text(raw)
	}
	if f.modified != "" {
		raw, _ := rawjson.Get(item, f.modified)
		c.Version, _ = rawjson.Text(raw)
		if at, err := eastern().parse(c.Version, now); err == nil {
			c.Time = at
		}
	}
	return c
}

// oldestFirst puts the changes of one record in the order of their times, where all of them have one. The order of the API is not
// documented.
func oldestFirst(changes []sdk.Change) {
	places := map[sdk.Ref][]int{}
	for i, c := range changes {
		if c.Ref.ID != "" {
			places[c.Ref] = append(places[c.Ref], i)
		}
	}
	for _, at := range places {
		if len(at) < 2 || slices.ContainsFunc(at, func(i int) bool { return changes[i].Time.IsZero() }) {
			continue
		}
		of := make([]sdk.Change, len(at))
		for n, i := range at {
			of[n] = changes[i]
		}
		slices.SortStableFunc(of, func(a, b sdk.Change) int { return a.Time.Compare(b.Time) })
		for n, i := range at {
			changes[i] = of[n]
		}
	}
}

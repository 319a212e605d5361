// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package orthanc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

// change is one entry of the list of changes.
type change struct {
	seq      int64
	event    string // ChangeType: NewStudy
	resource string // ResourceType: Study
	id       string
	// Of a date that the clocks of the zone show twice, the earliest and the latest instant that it can mean; both are zero when it
	// can't be read.
	early, late time.Time
	date        string
	raw         json.RawMessage
}

// version is a change's number, which no other change of the list has.
func (c change) version() string { return strconv.FormatInt(c.seq, 10) }

// print tells a change from another that has its number, in another database, and nothing else: it is shown to people.
func (c change) print() string { return digest(16, c.version(), c.event, c.id, c.date) }

// digest is of so many hexadecimal digits.
func digest(length int, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:length]
}

// list is an answer of GET /changes.
type list struct {
	changes []change // their numbers grow
	done    bool     // nothing comes after them
	last    int64    // with no changes: the number that was given out last
}

// at is the change with a number.
func (l list) at(seq int64) (change, bool) {
	for _, c := range l.changes {
		if c.seq == seq {
			return c, true
		}
	}
	return change{}, false
}

// caller makes the calls of one poll and counts them.
type caller struct {
	*source
	calls int
}

// changes gives at most limit changes after a number.
func (c *caller) changes(ctx context.Context, since int64, limit int) (list, error) {
	body, err := c.get(ctx, "/changes?since="+strconv.FormatInt(since, 10)+"&limit="+strconv.Itoa(max(limit, 1)), "/changes")
	if err != nil {
		return list{}, err
	}
	return parseList(body, since, c.format)
}

// newest gives the last change of the list, if there is any.
func (c *caller) newest(ctx context.Context) (change, bool, error) {
	body, err := c.get(ctx, "/changes?last", "/changes?last")
	if err != nil {
		return change{}, false, err
	}
	l, err := parseList(body, 0, c.format)
	if err != nil || len(l.changes) == 0 {
		return change{}, false, err
	}
	return l.changes[len(l.changes)-1], true, nil
}

func (c *caller) get(ctx context.Context, path, template string) ([]byte, error) {
	res, err := c.client.JSON(ctx, httpx.Request{URL: c.base.String() + path, Template: template, Header: c.header})
	if err != nil {
		c.calls++ // at least
		return nil, httpx.Missing(err)
	}
	c.calls += res.Calls
	return res.Body, nil
}

// now is Orthanc's clock, which no answer's header tells; zero when a user may not ask for it.
func (c *caller) now(ctx context.Context) (time.Time, error) {
	res, err := c.client.Do(ctx, httpx.Request{URL: c.base.String() + "/tools/now", Template: "/tools/now", Header: c.header})
	switch sdk.CodeOf(err) {
	case "":
	case sdk.CodeNotFound, sdk.CodeForbidden:
		return time.Time{}, nil
	default:
		return time.Time{}, err
	}
	c.calls += res.Calls
	at, err := time.Parse(dates, string(res.Body)) // in UTC, whatever the machine's zone
	if err != nil {
		return time.Time{}, nil
	}
	return at, nil
}

// errForm is for an answer that can't be trusted as a whole: to take it for an empty list would be to read nothing for weeks without a
// word, and to take its numbers as they are, to lose the place.
func errForm(what string) error { return sdk.Retryable("GET /changes: %s", what) }

// parseList reads an answer to the question for what comes after a number.
func parseList(body []byte, since int64, format window.Format) (list, error) {
	var answer struct {
		Changes []json.RawMessage
		Done    *bool
		Last    *int64
	}
	if json.Unmarshal(body, &answer) != nil || answer.Changes == nil || answer.Done == nil || answer.Last == nil {
		return list{}, errForm("the answer has no Changes, Done and Last; is this the address of Orthanc?")
	}
	l := list{done: *answer.Done, last: *answer.Last}
	for before, i := since, 0; i < len(answer.Changes); i++ {
		var item struct {
			Seq                                *int64
			ChangeType, ResourceType, ID, Date string
		}
		if json.Unmarshal(answer.Changes[i], &item) != nil || item.Seq == nil {
			return list{}, errForm("an entry is not of the form of a change with a Seq")
		}
		if *item.Seq <= before {
			return list{}, errForm("the numbers do not grow from the one that was asked for")
		}
		before = *item.Seq
		c := change{seq: *item.Seq, event: item.ChangeType, resource: item.ResourceType, id: item.ID, date: item.Date, raw: answer.Changes[i]}
		if early, late, err := format.Parse(item.Date); err == nil {
			c.early, c.late = early, late
		}
		l.changes = append(l.changes, c)
	}
	if len(l.changes) == 0 && !l.done {
		return list{}, errForm("shows no change and says that there are more")
	}
	return l, nil
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// An adapter for an API with GET /appointments?since=2022-05-10T10:00:00Z, which answers in pages, and GET /patients/{id}.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

func main() { sdk.Serve(info, open) }

var info = sdk.Info{
	Name: "minimal", Version: "0.1.0", Doc: "A small JSON API.",
	Feeds:     []sdk.Feed{{Name: "appointments", Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: time.Second}},
	Resources: []sdk.Resource{{Name: "patient"}},
	Limits:    []sdk.Limit{{Calls: perSecond, Per: time.Second, Doc: "What this adapter keeps to, for each source."}},
}

const perSecond = 20

// source is both a source and its configuration.
type source struct {
	BaseURL string `hcl:"base_url" doc:"Where the API is."`
	Token   string `hcl:"token,sensitive" doc:"What the API knows its callers by."`
	http    *httpx.Client
}

func open(_ context.Context, s source, _ sdk.Env) (_ sdk.Source, err error) {
	s.http, err = httpx.New(httpx.Config{Limits: budget.Limits{PerSecond: perSecond}})
	return &s, err
}

func (s *source) Catalog() sdk.Catalog {
	return sdk.Catalog{Feeds: info.Feeds, Resources: info.Resources}
}

// cursor is where a window goes on: what its first page was asked with, and which page is next.
type cursor struct {
	Since   string
	Next    string
	Reading window.Reading
}

func (s *source) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	if q.Feed != "appointments" {
		return page, sdk.Permanent("there is no such feed")
	}
	mark, err := window.ParseMark(q)
	if err != nil {
		return page, err
	}
	at := cursor{Since: mark.Since(q.Overlap, time.Second).Format(time.RFC3339)}
	if q.Cursor != nil && (json.Unmarshal(q.Cursor, &at) != nil || at.Next == "") {
		return page, sdk.CursorExpired("the cursor is not one of this feed")
	}
	begun := time.Now()
	parameters := url.Values{"since": {at.Since}, "page": {at.Next}}
	answer, err := s.get(ctx, "/appointments?"+parameters.Encode(), "/appointments")
	if err != nil {
		return page, err
	}
	var body struct {
		Appointments []json.RawMessage
		Next         string
	}
	if json.Unmarshal(answer.Body, &body) != nil || body.Appointments == nil {
		return page, sdk.Retryable("GET /appointments: the answer has no list of appointments")
	}
	if q.Cursor == nil {
		at.Reading = window.Begin(answer.Asked, begun)
	}
	for _, item := range body.Appointments {
		c := change(item)
		at.Reading.Saw(c.Time)
		page.Changes = append(page.Changes, c)
	}
	page.Now, page.Calls = answer.Date, answer.Calls
	if at.Next = body.Next; at.Next != "" {
		page.Cursor, err = json.Marshal(at)
	} else {
		page.Watermark = mark.After(at.Reading).Bytes()
	}
	return page, err
}

// change is what an item of the list says.
func change(item json.RawMessage) sdk.Change {
	var a struct{ ID, LastUpdated string }
	unread := json.Unmarshal(item, &a)
	at, undated := time.Parse(time.RFC3339, a.LastUpdated)
	c := sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: a.ID}, Version: a.LastUpdated, Time: at, Data: item}
	if unread != nil || undated != nil || a.ID == "" {
		c.Err = sdk.Permanent("GET /appointments: an item without a usable id or lastUpdated")
	}
	return c
}

func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	return sdk.Each(refs, 8, func(r sdk.Ref) (json.RawMessage, error) {
		if r.Kind != "patient" {
			return nil, sdk.Permanent("there is no such resource")
		}
		if r.ID == "" || r.ID == "." || r.ID == ".." { // another path would be asked for
			return nil, sdk.Permanent("GET /patients/{id}: the identifier is not fit for a path")
		}
		answer, err := s.get(ctx, "/patients/"+url.PathEscape(r.ID), "/patients/{id}")
		if err != nil {
			return nil, err
		}
		return answer.Body, nil
	}), nil
}

// get asks for a path. Template is what it is called in errors, which hold no identifiers.
func (s *source) get(ctx context.Context, path, template string) (*httpx.Response, error) {
	header := http.Header{"Authorization": {"Bearer " + s.Token}}
	return s.http.JSON(ctx, httpx.Request{URL: s.BaseURL + path, Template: template, Header: header})
}

func (s *source) Close() error { return s.http.Close() }

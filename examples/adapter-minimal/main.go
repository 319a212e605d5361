// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// An adapter for an API with GET /appointments?since=2022-05-10T10:00:00Z and GET /patients/{id}.
package main

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/window"
)

func main() { sdk.Serve(sdk.Info{Name: "minimal", Version: "0.1.0", Doc: "A small JSON API."}, open) }

// source is both a source and its configuration.
type source struct {
	BaseURL string `hcl:"base_url" doc:"Where the API is."`
	http    *httpx.Client
}

func open(_ context.Context, s source, _ sdk.Env) (_ sdk.Source, err error) {
	s.http, err = httpx.New(httpx.Config{Limits: budget.Limits{PerSecond: 20}})
	return &s, err
}

func (s *source) Catalog() sdk.Catalog {
	return sdk.Catalog{Resources: []sdk.Resource{{Name: "patient"}}, Feeds: []sdk.Feed{{Name: "appointments",
		Kind: "appointment", Class: sdk.Timestamp, Version: sdk.Coarse, Precision: time.Second}}}
}

func (s *source) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	mark, err := window.ParseMark(q)
	if err != nil {
		return page, err
	}
	since, begun := mark.Since(q.Overlap, time.Second).Format(time.RFC3339), time.Now()
	answer, err := s.http.JSON(ctx, httpx.Request{URL: s.BaseURL + "/appointments?since=" + since, Template: "/appointments"})
	if err != nil {
		return page, err
	}
	var items []json.RawMessage
	if json.Unmarshal(answer.Body, &items) != nil {
		return page, sdk.Retryable("GET /appointments: the answer is not a list")
	}
	reading := window.Begin(answer.Asked, begun)
	for _, item := range items {
		var a struct{ ID, LastUpdated string }
		unread := json.Unmarshal(item, &a)
		at, undated := time.Parse(time.RFC3339, a.LastUpdated)
		c := sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: a.ID}, Version: a.LastUpdated, Time: at, Data: item}
		if unread != nil || undated != nil || a.ID == "" {
			c.Err = sdk.Permanent("GET /appointments: an item without a usable id or lastUpdated")
		}
		reading.Saw(at)
		page.Changes = append(page.Changes, c)
	}
	page.Watermark, page.Now, page.Calls = mark.After(reading).Bytes(), answer.Date, answer.Calls
	return page, nil
}

func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	return sdk.Each(refs, 8, func(r sdk.Ref) (json.RawMessage, error) {
		answer, err := s.http.JSON(ctx, httpx.Request{URL: s.BaseURL + "/patients/" + url.PathEscape(r.ID), Template: "/patients/{id}"})
		if err != nil {
			return nil, err
		}
		return answer.Body, nil
	}), nil
}

func (s *source) Close() error { return s.http.Close() }

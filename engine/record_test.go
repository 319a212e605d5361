// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/sdk"
)

// pagesOf is a source whose feed has two pages, of five changes and of one.
type pagesOf struct {
	pipeline.Source
	polled []string // cursors
	took   bool     // something away
	peeks  bool
}

func (s *pagesOf) Poll(_ context.Context, q sdk.Query) (sdk.Page, error) {
	s.polled = append(s.polled, string(q.Cursor))
	s.took = s.took || !q.Peek
	if string(q.Cursor) == "second" {
		return sdk.Page{Changes: make([]sdk.Change, 1), Watermark: []byte("end"), Notes: []sdk.Note{{}}}, nil
	}
	return sdk.Page{Changes: make([]sdk.Change, 5), Cursor: []byte("second"), Included: make([]sdk.Result, 1), Wait: 1}, nil
}

func (s *pagesOf) Feed(_ context.Context, name string) (sdk.Feed, error) {
	return sdk.Feed{Class: sdk.Class(name), Peeks: s.peeks}, nil
}

func TestNoRecordsAreTakenOfAQueue(t *testing.T) {
	p := &portions{Source: &pagesOf{}}
	if _, err := p.Feed(t.Context(), string(sdk.Queue)); sdk.CodeOf(err) != sdk.CodePermanent {
		t.Errorf("a queue: %v", err)
	}
	if _, err := p.Feed(t.Context(), string(sdk.Timestamp)); err != nil {
		t.Errorf("another feed: %v", err)
	}
	peeks := &pagesOf{peeks: true}
	p = &portions{Source: peeks, size: 2}
	if _, err := p.Feed(t.Context(), string(sdk.Queue)); err != nil {
		t.Errorf("a queue that can be read without being emptied: %v", err)
	}
	if page, err := p.Poll(t.Context(), sdk.Query{}); err != nil || len(page.Changes) != 2 || peeks.took {
		t.Errorf("%d changes, %v; taken away: %t", len(page.Changes), err, peeks.took)
	}
	if err := p.Ack(t.Context(), "", nil); err != nil { // the source's own would panic
		t.Error(err)
	}
}

// TestAPageIsGivenOutInPortions: each is a page of its own to the loop, and the source is asked for each of its own pages once.
func TestAPageIsGivenOutInPortions(t *testing.T) {
	source := &pagesOf{}
	p := &portions{Source: source, size: 2}
	var got []string
	q := sdk.Query{}
	for cursors := map[string]bool{}; ; {
		page, err := p.Poll(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d changes, %d included, %d notes, wait %d, %s", len(page.Changes), len(page.Included), len(page.Notes), page.Wait, page.Watermark))
		if len(page.Cursor) == 0 {
			break
		}
		if cursors[string(page.Cursor)] {
			t.Fatalf("the cursor %s comes twice", page.Cursor)
		}
		cursors[string(page.Cursor)] = true
		q.Cursor = page.Cursor
	}
	want := []string{"2 changes, 1 included, 0 notes, wait 1, ", "2 changes, 0 included, 0 notes, wait 0, ", "1 changes, 0 included, 0 notes, wait 0, ",
		"1 changes, 0 included, 1 notes, wait 0, end"}
	if !slices.Equal(got, want) || !slices.Equal(source.polled, []string{"", "second"}) {
		t.Errorf("%q, asked at %q", got, source.polled)
	}
}

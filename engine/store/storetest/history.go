// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// listed puts the pages of a listing together.
func listed[T any](t *testing.T, limit int, page func(token []byte) ([]T, []byte, error)) (all []T) {
	t.Helper()
	for token := []byte(nil); ; {
		list, next, err := page(token)
		must(t, err)
		if len(list) > limit {
			t.Fatalf("%d on a page of %d", len(list), limit)
		}
		if all = append(all, list...); next == nil {
			return all
		}
		token = next
	}
}

func delivered(t *testing.T, s store.Store, f store.Filter, newest bool, limit int) []store.Delivered {
	t.Helper()
	return listed(t, limit, func(token []byte) ([]store.Delivered, []byte, error) {
		return s.Admin().Delivered(t.Context(), f, newest, token, limit)
	})
}

func deliveredIDs(t *testing.T, s store.Store, f store.Filter, newest bool) (ids []string) {
	t.Helper()
	for _, d := range delivered(t, s, f, newest, 2) {
		ids = append(ids, d.ID)
	}
	return ids
}

func waitingIDs(t *testing.T, s store.Store, f store.Filter) (ids []string) {
	t.Helper()
	for _, e := range listed(t, 2, func(token []byte) ([]record.Entry, []byte, error) {
		return s.Admin().Waiting(t.Context(), f, token, 2)
	}) {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return ids
}

// whole is an entry with something in every field, of which what the store gives is zero.
func whole(id string) record.Entry {
	e := entry(id, "key")
	e.Ref.Args, e.Time, e.Trace = "args", instant.Add(-time.Hour), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	e.Record, e.Previous = []byte(`{"change":2}`), []byte(`{"change":1}`)
	return e
}

func acknowledgedIsDelivered(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	e, large := whole("1"), entry("large", "other")
	large.Body, large.Key = make([]byte, 700_000), strings.Repeat("k", 1_200_000) // longer than what a store may keep in one piece
	commit(t, f, store.Batch{Entries: []record.Entry{e, large, entry("2", "key")}})
	for i := range 25 {
		must(t, out.Defer(t.Context(), place(t, out, "1"), store.Attempt{
			Attempts: i + 1, Next: instant, At: instant.Add(time.Duration(i) * time.Minute), Code: fmt.Sprint("http_", 500+i),
		}))
	}
	same(t, "found", waitingIDs(t, s, store.Filter{ID: "large"}), []string{"large"})
	at := place(t, out, "1")
	e = head(t, out, at.Lane, 1)[0]
	first := record.Try{At: instant.Add(5 * time.Minute), Code: "http_505"}
	if e.Trace == "" || string(e.Previous) != `{"change":1}` || len(e.Tries) != 20 || e.Tries[0] != first || e.Tries[19].Code != "http_524" {
		t.Fatalf("before: %+v", e)
	}
	when := time.Now().Add(-time.Minute).UTC().Round(0)
	must(t, out.Ack(t.Context(), store.Done{EntryID: at, At: when, Code: "http_202"}))
	must(t, out.Ack(t.Context(), store.Done{EntryID: at, At: when.Add(time.Second), Code: "http_200"}))
	must(t, out.Ack(t.Context(), done(place(t, out, "large"))...))
	same(t, "waiting", waiting(t, out), []string{"2"})
	for range 2 {
		got := delivered(t, s, store.Filter{}, false, 10)
		if len(got) != 2 || !reflect.DeepEqual(got[0], store.Delivered{Entry: e, At: when, Code: "http_202"}) {
			t.Fatalf("%d delivered: %+v", len(got), got)
		}
		if got[1].ID != "large" || !reflect.DeepEqual(got[1].Body, large.Body) || got[1].Key != large.Key {
			t.Errorf("%s with a body of %d bytes", got[1].ID, len(got[1].Body))
		}
		same(t, "those of its record", deliveredIDs(t, s, store.Filter{Pipeline: "p", Ref: large.Ref}, true), []string{"large"})
		s.close()
		s = open(t, o)
	}
	buryAll := s.attach("webhook.d")
	must(t, buryAll.Bury(t.Context(), place(t, buryAll, "2"), record.Cause{Code: "http_422"}, instant))
	if got := deliveredIDs(t, s, store.Filter{}, false); len(got) != 2 {
		t.Errorf("delivered %v, with what was buried", got)
	}
	letter, err := s.Admin().DeadLetter(t.Context(), "2")
	must(t, err)
	if want := []record.Try{{At: instant, Code: "http_422"}}; !letter.Time.Equal(instant) || !reflect.DeepEqual(letter.Entry.Tries, want) {
		t.Errorf("buried at %v, tries %v", letter.Time, letter.Entry.Tries)
	}
}

// history gives a state in which, minute by minute from begin on, "0" to "9" were delivered, in turn of pipelines p and q, of the
// records 0 to 2; the fourth of them to another destination.
func history(t *testing.T, o Open) (s testStore, begin time.Time) {
	s, begin = open(t, o), time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for i := range 10 {
		e := entry(fmt.Sprint(i), "key")
		e.Pipeline = []string{"p", "q"}[i%2]
		e.Ref = ref(fmt.Sprint(i % 3))
		if i == 4 {
			e.Destination = "file.e"
		}
		commit(t, s.claim(e.Pipeline), store.Batch{Entries: []record.Entry{e}})
		out := s.attach(e.Destination)
		must(t, out.Ack(t.Context(), store.Done{EntryID: place(t, out, e.ID), At: begin.Add(time.Duration(i) * time.Minute)}))
	}
	return s, begin
}

func deliveredPaged(t *testing.T, o Open) {
	s, begin := history(t, o)
	up := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	down := slices.Clone(up)
	slices.Reverse(down)
	for limit := 1; limit <= 11; limit++ {
		for newest, want := range map[bool][]string{false: up, true: down} {
			var got []string
			for _, d := range delivered(t, s, store.Filter{}, newest, limit) {
				got = append(got, d.ID)
			}
			same(t, fmt.Sprint("pages of ", limit), got, want)
		}
	}
	// Two of one instant are both there, and so is one that comes between pages.
	commit(t, s.claim("p"), store.Batch{Entries: entries("x", "y", "z")})
	out := s.attach("webhook.d")
	ack := func(id string, after time.Duration) {
		must(t, out.Ack(t.Context(), store.Done{EntryID: place(t, out, id), At: begin.Add(after)}))
	}
	ack("x", 20*time.Minute)
	ack("y", 20*time.Minute)
	first, next, err := s.Admin().Delivered(t.Context(), store.Filter{}, true, nil, 1)
	must(t, err)
	ack("z", 15*time.Minute)
	second, next, err := s.Admin().Delivered(t.Context(), store.Filter{}, true, next, 1)
	must(t, err)
	third, _, err := s.Admin().Delivered(t.Context(), store.Filter{}, true, next, 1)
	must(t, err)
	if len(first) != 1 || len(second) != 1 || len(third) != 1 || first[0].ID == second[0].ID || third[0].ID != "z" {
		t.Errorf("newest %v, %v, %v", first, second, third)
	}
	if _, _, err := s.Admin().Delivered(t.Context(), store.Filter{}, true, []byte("no token"), 1); err == nil {
		t.Error("a token that was never given was taken")
	}
}

func deliveredFiltered(t *testing.T, o Open) {
	s, begin := history(t, o)
	minute := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Minute) }
	for name, x := range map[string]struct {
		filter store.Filter
		want   []string
	}{
		"pipeline":                  {store.Filter{Pipeline: "q"}, []string{"1", "3", "5", "7", "9"}},
		"unknown pipeline":          {store.Filter{Pipeline: "r"}, nil},
		"destination":               {store.Filter{Destination: "file.e"}, []string{"4"}},
		"unknown destination":       {store.Filter{Destination: "file.f"}, nil},
		"both":                      {store.Filter{Pipeline: "q", Destination: "file.e"}, nil},
		"id":                        {store.Filter{ID: "6"}, []string{"6"}},
		"record":                    {store.Filter{Pipeline: "p", Ref: ref("0")}, []string{"0", "6"}},
		"record and time":           {store.Filter{Pipeline: "p", Ref: ref("0"), From: minute(1)}, []string{"6"}},
		"record and destination":    {store.Filter{Pipeline: "p", Ref: ref("1"), Destination: "file.e"}, []string{"4"}},
		"unknown record":            {store.Filter{Pipeline: "p", Ref: ref("7")}, nil},
		"record of other arguments": {store.Filter{Pipeline: "p", Ref: sdk.Ref{Kind: "appointment", ID: "0", Args: "a"}}, nil},
		"from":                      {store.Filter{From: minute(8)}, []string{"8", "9"}},
		"to":                        {store.Filter{To: minute(2)}, []string{"0", "1"}},
		"from and to":               {store.Filter{From: minute(3), To: minute(5)}, []string{"3", "4"}},
	} {
		same(t, name, deliveredIDs(t, s, x.filter, false), x.want)
		down := slices.Clone(x.want)
		slices.Reverse(down)
		same(t, name+", newest first", deliveredIDs(t, s, x.filter, true), down)
	}
	if _, _, err := s.Admin().Delivered(t.Context(), store.Filter{Ref: ref("0")}, true, nil, 1); err == nil {
		t.Error("a record was asked for without its pipeline")
	}
}

func waitingFiltered(t *testing.T, o Open) {
	s := open(t, o)
	for i := range 6 {
		e := entry(fmt.Sprint(i), "key")
		e.Pipeline = []string{"p", "q"}[i%2]
		e.Destination = []string{"webhook.d", "file.e"}[i/4]
		e.Committed = instant.Add(time.Duration(i) * time.Minute)
		commit(t, s.claim(e.Pipeline), store.Batch{Entries: []record.Entry{e}})
	}
	for name, x := range map[string]struct {
		filter store.Filter
		want   []string
	}{
		"all":         {store.Filter{}, []string{"0", "1", "2", "3", "4", "5"}},
		"pipeline":    {store.Filter{Pipeline: "q"}, []string{"1", "3", "5"}},
		"destination": {store.Filter{Destination: "file.e"}, []string{"4", "5"}},
		"unknown":     {store.Filter{Destination: "file.f"}, nil},
		"id":          {store.Filter{ID: "3"}, []string{"3"}},
		"record":      {store.Filter{Pipeline: "p", Ref: ref("of-2")}, []string{"2"}},
		"time":        {store.Filter{From: instant.Add(time.Minute), To: instant.Add(3 * time.Minute)}, []string{"1", "2"}},
	} {
		same(t, name, waitingIDs(t, s, x.filter), x.want)
	}
	out := s.attach("webhook.d")
	e := head(t, out, place(t, out, "1").Lane, 1)[0]
	got, _, err := s.Admin().Waiting(t.Context(), store.Filter{ID: "1"}, nil, 1)
	must(t, err)
	if !reflect.DeepEqual(got, []record.Entry{e}) {
		t.Errorf("waiting %+v, want %+v", got, e)
	}
	must(t, out.Ack(t.Context(), done(place(t, out, "1"))...))
	same(t, "after an acknowledgement", waitingIDs(t, s, store.Filter{Pipeline: "q"}), []string{"3", "5"})
}

func deadFiltered(t *testing.T, o Open) {
	s := open(t, o)
	n := entry("n", "key")
	n.Pipeline = "q"
	for i, l := range []record.DeadLetter{
		{ID: "0", Pipeline: "p", Ref: ref("a"), Cause: record.Cause{Code: "script_error"}},
		{ID: "1", Pipeline: "q", Ref: ref("a"), Cause: record.Cause{Code: "http_422"}, Entry: &n},
		{ID: "2", Pipeline: "p", Ref: ref("b"), Cause: record.Cause{Code: "http_422"}, Previous: []byte(`{"change":0}`)},
		{ID: "3", Pipeline: "p", Ref: ref("a"), Cause: record.Cause{Code: "not_found"}, Record: make([]byte, 1<<20)},
	} {
		l.Time = instant.Add(time.Duration(i) * time.Minute)
		commit(t, s.claim(l.Pipeline), store.Batch{Dead: []record.DeadLetter{l}})
	}
	for name, x := range map[string]struct {
		filter store.Filter
		want   []string
	}{
		"all":         {store.Filter{}, []string{"0", "1", "2", "3"}},
		"pipeline":    {store.Filter{Pipeline: "p"}, []string{"0", "2", "3"}},
		"unknown":     {store.Filter{Pipeline: "r"}, nil},
		"destination": {store.Filter{Destination: "webhook.d"}, []string{"1"}},
		"no such one": {store.Filter{Destination: "file.f"}, nil}, // not those that have no notification
		"id":          {store.Filter{ID: "2"}, []string{"2"}},
		"record":      {store.Filter{Pipeline: "p", Ref: ref("a")}, []string{"0", "3"}},
		"code":        {store.Filter{Code: "http_422"}, []string{"1", "2"}},
		"time":        {store.Filter{From: instant.Add(time.Minute), To: instant.Add(3 * time.Minute)}, []string{"1", "2"}},
	} {
		var got []string
		for _, l := range listed(t, 1, func(token []byte) ([]record.DeadLetter, []byte, error) {
			return s.Admin().Dead(t.Context(), x.filter, token, 1)
		}) {
			got = append(got, l.ID)
		}
		same(t, name, got, x.want)
	}
	for id, want := range map[string]error{"2": nil, "none": store.ErrNotFound} {
		l, err := s.Admin().DeadLetter(t.Context(), id)
		if !errors.Is(err, want) || err == nil && (l.ID != "2" || string(l.Previous) != `{"change":0}` || l.Pipeline != "p") {
			t.Errorf("%s: %+v, %v", id, l, err)
		}
	}
	count := func(p, q int) {
		t.Helper()
		want := map[string]int{}
		for name, n := range map[string]int{"p": p, "q": q} {
			if n > 0 {
				want[name] = n
			}
		}
		if got, err := s.Admin().DeadCount(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("counted %v, %v, want %v", got, err, want)
		}
	}
	count(3, 1)
	large := record.DeadLetter{ID: "2", Pipeline: "p", Record: make([]byte, 600_000)} // takes the place of another
	commit(t, s.claim("p"), store.Batch{Dead: []record.DeadLetter{large, large}})
	count(3, 1)
	must(t, s.Admin().Discard(t.Context(), "3"))
	must(t, s.Admin().Retry(t.Context(), "1", nil, false))
	count(2, 0)
	s.close()
	s = open(t, o)
	count(2, 0)
}

func pendingDepth(t *testing.T, o Open) {
	s := open(t, o)
	f, out := s.claim("p"), s.attach("webhook.d")
	add := func(id string, after time.Duration) {
		e := entry(id, id)
		e.Committed = instant.Add(after)
		commit(t, f, store.Batch{Entries: []record.Entry{e}})
	}
	check := func(n int, after time.Duration) {
		t.Helper()
		got, err := s.Admin().Pending(t.Context())
		must(t, err)
		want := map[string]store.Depth{"webhook.d": {Count: n, Oldest: instant.Add(after).Truncate(time.Second)}}
		if n == 0 {
			want = map[string]store.Depth{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("pending %v, want %v", got, want)
		}
	}
	check(0, 0)
	add("1", 0)
	add("2", time.Millisecond)
	add("3", time.Hour)
	check(3, 0)
	must(t, out.Ack(t.Context(), done(place(t, out, "1"))...))
	must(t, out.Defer(t.Context(), place(t, out, "2"), store.Attempt{Attempts: 1, At: instant, Code: "network"}))
	check(2, 0)
	s.close()
	s = open(t, o)
	f, out = s.claim("p"), s.attach("webhook.d")
	check(2, 0)
	must(t, out.Bury(t.Context(), place(t, out, "2"), record.Cause{}, instant))
	check(1, time.Hour)
	must(t, out.Ack(t.Context(), done(place(t, out, "3"))...))
	check(0, 0)
	add("4", 2*time.Hour)
	check(1, 2*time.Hour)

	// What a person puts back waits from then on.
	before := time.Now().Truncate(time.Second)
	must(t, out.Ack(t.Context(), done(place(t, out, "4"))...))
	must(t, s.Admin().Retry(t.Context(), "2", nil, true))
	got, err := s.Admin().Pending(t.Context())
	must(t, err)
	if d := got["webhook.d"]; d.Count != 1 || d.Oldest.Before(before) {
		t.Errorf("after a retry %+v", d)
	}
}

func rowsListed(t *testing.T, o Open) {
	s := open(t, o)
	f := s.claim("p")
	want := map[sdk.Ref]store.Row{}
	for i := range 9 {
		r := row(fmt.Sprint(i), uint64(i+1))
		commit(t, f, store.Batch{Rows: []store.Row{r}})
		want[r.Ref] = r
	}
	r := row("with a snapshot", 1)
	r.Snapshot = make([]byte, 600_000)
	commit(t, f, store.Batch{Rows: []store.Row{r}})
	commit(t, s.claim("neighbour"), store.Batch{Rows: []store.Row{row("x", 1)}})
	got, found, err := s.Admin().Row(t.Context(), "p", r.Ref)
	if err != nil || !found || !reflect.DeepEqual(got, r) {
		t.Errorf("row %v, %v, %v", got.Ref, found, err)
	}
	r.Snapshot = nil
	want[r.Ref] = r
	all := map[sdk.Ref]store.Row{}
	for _, r := range listed(t, 4, func(token []byte) ([]store.Row, []byte, error) { return s.Admin().Rows(t.Context(), "p", token, 4) }) {
		if _, twice := all[r.Ref]; twice {
			t.Errorf("%v came twice", r.Ref)
		}
		all[r.Ref] = r
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("rows %+v, want %+v", all, want)
	}
	for _, x := range []struct {
		pipeline string
		ref      sdk.Ref
	}{{"p", ref("x")}, {"nobody", ref("0")}} {
		if _, found, err := s.Admin().Row(t.Context(), x.pipeline, x.ref); found || err != nil {
			t.Errorf("row of %v: %v, %v", x, found, err)
		}
	}
	if list, next, err := s.Admin().Rows(t.Context(), "nobody", nil, 4); len(list) > 0 || next != nil || err != nil {
		t.Errorf("rows of an unknown pipeline: %v, %v", list, err)
	}
}

func pauses(t *testing.T, o Open) {
	s := open(t, o)
	pause := func(kind store.Kind, name, why string) store.Pause {
		p := store.Pause{Kind: kind, Name: name, Since: instant, Why: why}
		must(t, s.Admin().Pause(t.Context(), p))
		return p
	}
	check := func(want ...store.Pause) {
		t.Helper()
		got, err := s.Admin().Pauses(t.Context())
		must(t, err)
		slices.SortFunc(got, func(a, b store.Pause) int {
			return slices.Compare([]string{string(a.Kind), a.Name}, []string{string(b.Kind), b.Name})
		})
		same(t, "pauses", got, want)
	}
	check()
	pause(store.Pipeline, "p", "first")
	p, d := pause(store.Pipeline, "p", "maintenance"), pause(store.Destination, "p", "") // of one name, but another kind
	if err := s.Admin().Pause(t.Context(), store.Pause{Kind: store.Source, Name: "rest.a"}); err == nil {
		t.Error("a source was paused")
	}
	check(d, p)
	s.close()
	s = open(t, o)
	check(d, p)
	commit(t, s.claim("p"), full("a")) // whoever is paused may work
	must(t, s.Admin().Unpause(t.Context(), store.Pipeline, "p"))
	must(t, s.Admin().Unpause(t.Context(), store.Pipeline, "p"))
	must(t, s.Admin().Unpause(t.Context(), store.Destination, "unknown"))
	check(d)

	// They are of the new name after a rename, and occupy a name.
	q := pause(store.Pipeline, "q", "")
	if moved, err := s.Admin().Rename(t.Context(), store.Pipeline, "p", "q"); moved || err == nil {
		t.Errorf("renamed to what is paused: %v, %v", moved, err)
	}
	if !s.rename(store.Pipeline, "q", "r") || !s.rename(store.Destination, "p", "e") {
		t.Error("not renamed")
	}
	q.Name, d.Name = "r", "e"
	check(d, q)
	s.close()
	s = open(t, o)
	check(d, q)
}

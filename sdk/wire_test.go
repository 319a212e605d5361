// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// carried is m after a trip over the wire.
func carried[M proto.Message](t testing.TB, m M) M {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("can't be encoded: %v", err)
	}
	into := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
	return into.(M)
}

var moments = []time.Time{
	{},
	time.Unix(0, 0).UTC(),
	time.Date(2022, 5, 10, 10, 0, 0, 123456789, time.UTC),
	time.Date(2099, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", -5*3600)),
	time.Date(1900, 1, 1, 0, 0, 0, 1, time.UTC),
	time.Date(12022, 1, 1, 0, 0, 0, 0, time.UTC), // some servers mistype the year
	time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
}

func TestTimesKeepTheirInstantAndZeroStaysZero(t *testing.T) {
	for _, want := range moments {
		p := pageFromWire(carried(t, pageToWire(Page{Now: want, Changes: []Change{{Time: want}}})))
		for _, got := range []time.Time{p.Now, p.Changes[0].Time, queryFromWire(carried(t, queryToWire(1, Query{Start: Start{At: want}}))).Start.At} {
			if !got.Equal(want) || got.IsZero() != want.IsZero() {
				t.Errorf("%v became %v", want, got)
			}
		}
	}
}

func TestNilAndEmptyBytesStayApart(t *testing.T) {
	for _, want := range [][]byte{nil, {}, []byte("x")} {
		q := queryFromWire(carried(t, queryToWire(1, Query{Watermark: want, Cursor: want})))
		p := pageFromWire(carried(t, pageToWire(Page{Watermark: want, Cursor: want, Ack: want})))
		for name, got := range map[string][]byte{"query's watermark": q.Watermark, "query's cursor": q.Cursor,
			"page's watermark": p.Watermark, "page's cursor": p.Cursor, "page's ack": p.Ack} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %#v became %#v", name, want, got)
			}
		}
	}
}

func TestAQueryArrivesWhole(t *testing.T) {
	want := Query{Feed: "appointments", Watermark: []byte("w"), Cursor: []byte("c"), Start: Start{At: moments[2]},
		Overlap: 2 * time.Minute, Limit: 7, Recover: true, Peek: true}
	if got := queryFromWire(carried(t, queryToWire(1, want))); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
}

func TestAPageArrivesWhole(t *testing.T) {
	whole := func(version, event, actor, id, args string, data map[string]string, nanos int64, calls int32, complete bool, op uint8) bool {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		want := Page{
			Changes: []Change{{Ref: Ref{"appointment", id, args}, Version: version, Op: ops[1:][op%4], Event: event,
				Actor: actor, Time: time.Unix(0, nanos).UTC(), Data: raw}},
			Included: []Result{{Ref: Ref{"patient", id, args}, Version: version, Data: raw}},
			Cursor:   []byte(id), Complete: complete, Now: time.Unix(0, nanos).UTC(), Wait: time.Duration(nanos), Calls: int(calls),
			Notes: []Note{{Code: event, Text: actor}},
		}
		got := pageFromWire(carried(t, pageToWire(want)))
		if !reflect.DeepEqual(got, want) {
			t.Logf("%+v became %+v", want, got)
		}
		return reflect.DeepEqual(got, want)
	}
	if err := quick.Check(whole, nil); err != nil {
		t.Error(err)
	}
}

func TestAnAbsentOperationIsUpsertAndAnUnknownOneIsTheItemsError(t *testing.T) {
	p := pageFromWire(carried(t, pageToWire(Page{Changes: []Change{{Ref: Ref{ID: "1"}}, {Ref: Ref{ID: "2"}, Op: "merge"}}})))
	if p.Changes[0].Op != Upsert || p.Changes[0].Err != nil {
		t.Errorf("absent: got %q, %v", p.Changes[0].Op, p.Changes[0].Err)
	}
	if CodeOf(p.Changes[1].Err) != CodePermanent {
		t.Errorf("unknown: got %v", p.Changes[1].Err)
	}
}

var allErrors = []*Error{
	Retryable("GET /a: status %d", 503), NotFound("nf"), Gone("g"), Unauthorized("u"), Forbidden("f"),
	RateLimited(90*time.Second, "slow down"), RateLimited(0, "slow down"), CursorExpired("c"), WatermarkExpired("w"),
	Misconfigured("feed.appointments.since.zone", "there is no such zone"), Permanent("p"),
}

func TestErrorsSurviveTheWire(t *testing.T) {
	for _, want := range allErrors {
		wrapped := fmt.Errorf("while polling: %w", want.Because(errors.New("cause")))
		s, ok := status.FromError(statusToWire(wrapped))
		if !ok {
			t.Fatal("no status")
		}
		again := status.FromProto(carried(t, s.Proto())).Err()
		page := pageFromWire(carried(t, pageToWire(Page{Changes: []Change{{Err: wrapped}}, Included: []Result{{Err: wrapped}}})))
		for where, got := range map[string]error{"call": statusFromWire(context.Background(), "Poll", again),
			"change": page.Changes[0].Err, "result": page.Included[0].Err} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("of a %s: %#v became %#v", where, want, got)
			}
		}
	}
}

// Invariant 6: Go's own errors quote what they could not handle.
func TestInvariant6TextsOfForeignErrorsStayInTheProcess(t *testing.T) {
	_, number := strconv.Atoi("canary")
	_, moment := time.Parse(time.RFC3339, "canary")
	for _, err := range []error{number, moment, &url.Error{Op: "Get", URL: "https://x/?token=canary", Err: errors.New("refused")},
		errors.New("canary"), fmt.Errorf("patient canary: %w", context.DeadlineExceeded)} {
		for where, text := range map[string]string{
			"call":   statusToWire(err).Error(),
			"status": fmt.Sprint(status.Convert(statusToWire(err)).Proto()),
			"item":   fmt.Sprint(pageToWire(Page{Changes: []Change{{Err: err}}, Included: []Result{{Err: err}}})),
		} {
			if strings.Contains(text, "canary") {
				t.Errorf("%T, %s: %s", err, where, text)
			}
		}
	}
}

func TestANilPointerReturnedAsAnErrorIsStillAnError(t *testing.T) {
	var trap *Error
	if got := errorFromWire(errorToWire(trap)); CodeOf(got) != CodePermanent {
		t.Errorf("got %v", got)
	}
}

func TestAnErrorsTextIsBounded(t *testing.T) {
	got := errorToWire(Permanent("%s", strings.Repeat("ä", 1e6)+"\xff"))
	if n := len(got.GetText()); n > maxText+10 {
		t.Errorf("%d bytes", n)
	}
	carried(t, got)
}

// TestWhatAnAdapterSaysIsBounded, of one that was written without this package.
func TestWhatAnAdapterSaysIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 1e6)
	if e := Safe(errorFromWire(&pb.Error{Text: long, Path: long})); len(e.Text) > maxText+10 || len(e.Path) > maxText+10 {
		t.Errorf("a text of %d bytes and a path of %d", len(e.Text), len(e.Path))
	}
	r := &pb.PollResponse{Now: &timestamppb.Timestamp{Seconds: 1 << 60}, Wait: &durationpb.Duration{Seconds: 1 << 60}, Changes: []*pb.Change{
		{Ref: &pb.Ref{Id: "1"}, Time: &timestamppb.Timestamp{Seconds: 1 << 60}}, {Ref: &pb.Ref{Id: "2"}, Time: &timestamppb.Timestamp{Nanos: -1}}, nil,
	}}
	for range 1000 {
		r.Notes = append(r.Notes, &pb.Note{Code: long, Text: long})
	}
	p := pageFromWire(r)
	if len(p.Notes) != maxNotes || len(p.Notes[0].Code) > maxText+10 || len(p.Notes[0].Text) > maxText+10 {
		t.Errorf("%d notes, of %d and %d bytes", len(p.Notes), len(p.Notes[0].Code), len(p.Notes[0].Text))
	}
	if !p.Now.IsZero() || p.Wait <= 0 || p.Changes[0].Err == nil || p.Changes[1].Err == nil || !p.Changes[0].Time.IsZero() || p.Changes[2].Err != nil {
		t.Errorf("now %v, wait %v, changes %v", p.Now, p.Wait, p.Changes)
	}
	_, err := catalogFromWire([]*pb.Feed{{Name: long, Class: long}}, nil)
	if err == nil || len(err.Error()) > 3*maxText {
		t.Errorf("a catalog's error has %d bytes", len(err.Error()))
	}
}

func TestTransportErrorsHaveATextOfTheirOwn(t *testing.T) {
	for code, want := range map[codes.Code]Code{codes.Unavailable: CodeRetryable, codes.DeadlineExceeded: CodeRetryable,
		codes.Canceled: CodeRetryable, codes.Internal: CodeRetryable, codes.Unknown: CodeRetryable,
		codes.ResourceExhausted: CodePermanent, codes.Unimplemented: CodePermanent} {
		err := statusFromWire(context.Background(), "Poll", status.Error(code, "canary"))
		if CodeOf(err) != want || strings.Contains(err.Error(), "canary") || !strings.HasPrefix(err.Error(), "Poll: ") {
			t.Errorf("%s became %v (%s)", code, err, CodeOf(err))
		}
		if answered := want == CodePermanent || code == codes.Unknown; errors.Is(err, ErrNoAnswer) == answered {
			t.Errorf("%s: ErrNoAnswer is %t", code, !answered)
		}
	}
}

func TestARecordThatCantBeCarriedLeavesTheOthersAlone(t *testing.T) {
	p := pageFromWire(carried(t, pageToWire(Page{
		Changes: []Change{
			{Ref: Ref{ID: "good"}, Data: json.RawMessage(`{"a":1}`)},
			{Ref: Ref{ID: "b\xe4d"}, Data: json.RawMessage(`{}`)},
			{Ref: Ref{ID: "v"}, Version: "\xff"},
			{Ref: Ref{ID: "html"}, Data: json.RawMessage(`<html>`)},
			{Ref: Ref{ID: "known"}, Data: json.RawMessage(`<html>`), Err: NotFound("n")},
			{Ref: Ref{ID: "event"}, Event: "\xff", Actor: "\xff"},
		},
		Included: []Result{{Ref: Ref{ID: "\xe4"}}, {Ref: Ref{ID: "r"}, Data: json.RawMessage(`{`)}},
	})))
	var got []Code
	for _, c := range p.Changes {
		got = append(got, CodeOf(c.Err))
	}
	for _, r := range p.Included {
		got = append(got, CodeOf(r.Err))
	}
	want := []Code{"", CodePermanent, CodePermanent, CodePermanent, CodeNotFound, "", CodePermanent, CodePermanent}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.Changes[3].Data != nil || string(p.Changes[0].Data) != `{"a":1}` {
		t.Error("data: what is no JSON must not arrive, what is must")
	}
}

func TestResultsMustAnswerTheRefsInOrder(t *testing.T) {
	a, b := Ref{"patient", "a", ""}, Ref{"patient", "b", ""}
	for _, c := range []struct {
		results []Result
		ok      bool
	}{
		{[]Result{{Ref: a}, {Ref: b}}, true},
		{[]Result{{Ref: b}, {Ref: a}}, false},
		{[]Result{{Ref: a}}, false},
		{[]Result{{Ref: a}, {Ref: b}, {Ref: b}}, false},
		{[]Result{{Ref: a}, {}}, false},
	} {
		if err := matches([]Ref{a, b}, c.results); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.results, err)
		}
	}
}

func TestDescriptionsArriveWhole(t *testing.T) {
	type since struct {
		Zone string `hcl:"zone,optional" default:"UTC"`
	}
	type feed struct {
		Name  string `hcl:"name,label"`
		Since *since `hcl:"since,block"`
	}
	type config struct {
		_     struct{} `doc:"A test."`
		Token string   `hcl:"token,sensitive" doc:"T."`
		Order string   `hcl:"order,optional" values:"a,b"`
		Feeds []feed   `hcl:"feed,block"`
	}
	want, err := schema.Of(config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := schemaFromWire(carried(t, schemaToWire(want))); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
	catalog := Catalog{
		Feeds: []Feed{{Name: "f", Kind: "k", Class: Queue, Version: Coarse, Precision: time.Second, History: true, Deletes: true,
			Drifts: true, Peeks: true, Ignore: []string{"a", "b.c"}, Why: "w"}},
		Resources: []Resource{{Name: "r", Batch: 50, Why: "w"}},
	}
	info := Info{Name: "n", Version: "1.2.3", Doc: "d", Feeds: catalog.Feeds, Resources: catalog.Resources,
		Limits: []Limit{{Calls: 500, Per: time.Hour, Doc: "l"}, {Doc: "no number"}}}
	if got, err := infoFromWire(carried(t, infoToWire(info))); err != nil || !reflect.DeepEqual(got, info) {
		t.Errorf("%+v became %+v, %v", info, got, err)
	}
}

func TestACatalogThatCouldOnlyBeMisunderstoodIsRefused(t *testing.T) {
	good := Feed{Name: "f", Class: Scan, Version: None}
	for name, c := range map[string]Catalog{
		"class":            {Feeds: []Feed{{Name: "f", Version: None}}},
		"version":          {Feeds: []Feed{{Name: "f", Class: Scan}}},
		"no name":          {Feeds: []Feed{{Class: Scan, Version: None}}},
		"two feeds":        {Feeds: []Feed{good, good}},
		"two resources":    {Resources: []Resource{{Name: "r"}, {Name: "r"}}},
		"unnamed resource": {Resources: []Resource{{}}},
	} {
		if _, err := infoFromWire(infoToWire(Info{Feeds: c.Feeds, Resources: c.Resources})); CodeOf(err) != CodePermanent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPageFromWire takes the bytes of an adapter that follows other rules, or none.
func FuzzPageFromWire(f *testing.F) {
	for _, p := range []Page{{}, {Changes: []Change{{Ref: Ref{"k", "i", "a"}, Op: Deleted, Time: moments[2], Data: json.RawMessage("1"),
		Err: allErrors[5]}}, Included: []Result{{Data: json.RawMessage("{")}}, Wait: 1, Now: moments[5], Notes: []Note{{"a", "b"}}}} {
		data, err := proto.Marshal(pageToWire(p))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m pb.PollResponse
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		p := pageFromWire(&m)
		for _, c := range p.Changes {
			if c.Data != nil && !json.Valid(c.Data) {
				t.Fatal("data that are not JSON came in")
			}
			switch c.Op {
			case Upsert, Created, Updated, Deleted:
			default:
				t.Fatalf("an operation %q came in", c.Op)
			}
		}
		again := pageFromWire(carried(t, pageToWire(p)))
		if !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v\nbecame\n%+v", p, again)
		}
	})
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

func TestSamplesAreRatesAndPeaksByTheMinute(t *testing.T) {
	s := NewSamples()
	at := time.Unix(1_800_000_000, 0).Truncate(time.Minute)
	status := func(delivered uint64, waiting, failures, dead int) *operate.Status {
		return &operate.Status{
			Pipelines:    []operate.PipelineStatus{{Name: "p", Failures: failures, DeadLetters: dead, LastPoll: at.Add(-time.Minute)}},
			Destinations: []operate.DestinationStatus{{Name: "d", Delivered: delivered, Waiting: waiting}, {Name: "e", Waiting: 1, Oldest: at.Add(-time.Hour)}},
		}
	}
	s.take(at, status(1000, 5, 3, 7)) // what was before the first look is no rate
	s.take(at.Add(10*time.Second), status(1004, 9, 4, 9))
	s.take(at.Add(20*time.Second), status(1006, 2, 0, 1)) // works again, and dead letters were retried: no failures
	s.take(at.Add(time.Minute), status(3, 0, 1, 1))       // counts from the beginning
	s.take(at.Add(4*time.Minute), status(3, 0, 1, 1))
	minute := func(key string, m int64) float64 { return float64(s.tracks[key][(at.Unix()/60+m)%slots]) }
	for _, x := range []struct {
		key  string
		m    int64
		want float64
	}{
		{ofDelivered, 0, 6}, {ofDelivered, 1, 3}, {ofDelivered, 2, math.NaN()}, {ofDelivered, 4, 0}, {ofDelivered, -1, math.NaN()},
		{ofFailures, 0, 3}, {ofFailures, 1, 1}, {ofWaiting, 0, 10}, {ofWaiting, 1, 1}, {ofLag, 0, 3620},
		{of(operate.Destination, "d", ofWaiting), 0, 9}, {of(operate.Pipeline, "p", ofLag), 0, 80},
	} {
		if got := minute(x.key, x.m); got != x.want && !(math.IsNaN(got) && math.IsNaN(x.want)) {
			t.Errorf("%s of minute %d is %v, want %v", x.key, x.m, got, x.want)
		}
	}
	c := s.rate("title", ofDelivered, false)
	if strings.Count(c.Line, "M") != 1 || c.Last != "3" || c.Most != "6" || c.Since != "30 min" { // the newest minute is not over
		t.Errorf("the chart is %+v", c)
	}
	if c := s.level("title", ofWaiting); strings.Count(c.Line, "M") != 2 || c.Last != "1" || c.Most != "10" {
		t.Errorf("the chart does not show the gap: %+v", c)
	}
	if c := s.level("title", "unknown"); !c.None {
		t.Errorf("the chart of nothing is %+v", c)
	}
}

func TestSamplesStayBounded(t *testing.T) {
	s := NewSamples()
	at := time.Unix(1_800_000_000, 0)
	for i := range 1000 {
		s.take(at.Add(time.Duration(i)*time.Minute), &operate.Status{Pipelines: []operate.PipelineStatus{{Name: fmt.Sprint(i)}}})
	}
	if len(s.tracks) != 6 { // four of all, two of the one pipeline that is left
		t.Errorf("%d tracks are kept", len(s.tracks))
	}
	if c := s.rate("", ofDelivered, false); c.Since != "6 h 00 min" {
		t.Errorf("the chart begins %s ago", c.Since)
	}
	s.take(at.Add(48*time.Hour), &operate.Status{})
	if c := s.rate("", ofDelivered, false); !c.None {
		t.Errorf("what is older than all slots is still drawn: %+v", c)
	}
	s.take(at, &operate.Status{}) // a clock that was set back
}

func FuzzJSONIsShownWhole(f *testing.F) {
	for _, text := range []string{`{"a":"b\"c","n":-1.5e3,"t":true,"l":[null,false,{}]}`, `"unended`, `"\`, `tnf`, "x", "{\"a\": \"<script>\"}", "\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var all strings.Builder
		for _, k := range tokens(json.RawMessage(data)) {
			if k.Text == "" {
				t.Fatal("a piece is empty")
			}
			all.WriteString(k.Text)
		}
		if all.String() != pretty(data) {
			t.Errorf("%q is shown as %q", data, all.String())
		}
	})
}

func FuzzTheLoginLeadsNowhereElse(f *testing.F) {
	for _, text := range []string{"/", "/dead?x=1", "//evil.example", `/\evil.example`, "https://evil.example", "/%2f/evil.example", "/\n/evil"} {
		f.Add(text)
	}
	here, _ := url.Parse("https://rounds.example/login")
	f.Fuzz(func(t *testing.T, next string) {
		to, err := here.Parse(local(next))
		if err != nil || to.Host != here.Host || to.Scheme != here.Scheme {
			t.Errorf("%q leads to %v", next, to)
		}
	})
}

func FuzzFiltersAreReadOrRefused(f *testing.F) {
	f.Add("pipeline=a&from=2026-05-10T10:00&to=2026-05-10T10:00:00Z")
	f.Add("from=yesterday")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		if got, err := filterOf(v); err == nil && (v.Get("from") != "") == (got.From.IsZero()) && !got.From.IsZero() {
			t.Errorf("%q is read as %+v", query, got)
		}
	})
}

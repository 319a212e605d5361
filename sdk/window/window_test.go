// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package window_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/window"
)

var ten = time.Date(2026, 5, 10, 10, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return time.Unix(ten.Unix()+int64(seconds), 0).UTC() }

// stored is a mark as the engine gives it back.
func stored(t *testing.T, m window.Mark) window.Mark {
	t.Helper()
	got, err := window.ParseMark(sdk.Query{Watermark: m.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInvariant1TheWatermarkMovesToTheNewestChangeAndNotPastTheBegin(t *testing.T) {
	for _, tt := range []struct {
		name          string
		old           time.Time
		server, local time.Time // clocks at the begin
		saw           []time.Time
		want          time.Time
	}{
		{"newest", at(0), at(60), at(60), []time.Time{at(10), at(30), at(20)}, at(30)},
		{"nothing read", at(0), at(60), at(60), nil, at(0)},
		{"only older", at(0), at(60), at(60), []time.Time{at(-10)}, at(0)},
		{"dated 2099", at(0), at(60), at(60), []time.Time{at(10), at(1 << 31)}, at(60)},
		{"changed while reading", at(0), at(60), at(60), []time.Time{at(65)}, at(60)},
		{"the server's clock was set back", at(0), at(-60), at(60), []time.Time{at(10)}, at(-60 - 600)},
		{"the servers behind one address have clocks of their own", at(0), at(-20), at(60), []time.Time{at(-25)}, at(0)},
		{"the local clock does not count beside the server's", at(0), at(60), at(9e8), []time.Time{at(1 << 31)}, at(60)},
		{"no server's clock", at(0), time.Time{}, at(60), []time.Time{at(10)}, at(10)},
		{"the local clock alone moves nothing", at(0), time.Time{}, at(9e8), []time.Time{at(1 << 31)}, at(0)},
		{"the local clock lags", at(0), time.Time{}, at(5), []time.Time{at(3), at(10)}, at(3)},
		{"nothing ever read", time.Time{}, at(60), at(60), nil, time.Time{}},
		{"first", time.Time{}, at(60), at(60), []time.Time{at(-1e6)}, at(-1e6)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := window.Begin(tt.server, tt.local)
			for _, s := range tt.saw {
				r.Saw(s)
			}
			got := stored(t, window.Mark{T: tt.old}.After(r))
			if !got.T.Equal(tt.want) {
				t.Errorf("moved to %s, want %s", got.T, tt.want)
			}
		})
	}
}

func TestTheBoundIsTheWatermarkLessOverlapAndOneUnitAndNeverBeforeTheFirst(t *testing.T) {
	for _, tt := range []struct {
		mark          window.Mark
		overlap, unit time.Duration
		want          time.Time
	}{
		{window.Mark{T: at(0)}, 2 * time.Minute, time.Second, at(-121)},
		{window.Mark{T: at(0)}, 0, time.Millisecond, ten.Add(-time.Millisecond)},
		{window.Mark{T: at(0), From: at(-60)}, 2 * time.Minute, time.Second, at(-61)},
		{window.Mark{T: at(-90), From: at(-60)}, 2 * time.Minute, time.Second, at(-61)},
		{window.Mark{T: at(0), From: at(-600)}, 2 * time.Minute, time.Second, at(-121)},
		{window.Mark{From: at(-60)}, 2 * time.Minute, time.Second, at(-61)},
		{window.Mark{}, 2 * time.Minute, time.Second, time.Time{}},
	} {
		if got := tt.mark.Since(tt.overlap, tt.unit); !got.Equal(tt.want) {
			t.Errorf("%s less %s and %s: %s, want %s", tt.mark.Bytes(), tt.overlap, tt.unit, got, tt.want)
		}
	}
}

// TestNoWindowReachesBehindTheFirst: what is older than the first window is not known to the engine, which would take it for new;
// and what changes after the start has to be asked for, whatever the server's clock says.
func TestNoWindowReachesBehindTheFirst(t *testing.T) {
	const overlap, unit = 2 * time.Minute, time.Second
	for _, tt := range []struct {
		name   string
		behind time.Duration
		tells  bool // the server tells its clock
		delay  int  // seconds from the start to the first answer
		saw    int  // seconds from the start to the newest change of the first windows, by the server's clock
	}{
		{"quiet", 0, true, 0, -1e6},
		{"a change before the start", 0, true, 0, -100},
		{"an early change of the first window", 0, true, 0, -700},
		{"a clock that tells full seconds", time.Second, true, 0, -100},
		{"behind", 90 * time.Second, true, 0, -100},
		{"behind, unreachable at first", 5 * time.Minute, true, 600, -1e6},
		{"behind in secret", 5 * time.Minute, false, 600, -1e6},
		{"ahead", -time.Hour, true, 0, -100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := window.ParseMark(sdk.Query{Start: sdk.Start{At: at(0)}, Overlap: overlap})
			if err != nil {
				t.Fatal(err)
			}
			first := m.Since(overlap, unit)
			if early := at(0).Add(-overlap - unit - max(tt.behind, 0)); first.After(early) {
				t.Errorf("the first window begins at %s, want %s or before", first, early)
			}
			for i := range 3 {
				local := at(tt.delay + 60*i)
				var server time.Time
				if tt.tells {
					server = local.Add(-tt.behind)
				}
				r := window.Begin(server, local)
				if saw := at(tt.saw); !saw.Before(first) {
					r.Saw(saw)
				}
				m = stored(t, m.After(r))
				if since := m.Since(overlap, unit); since.Before(first) || since.After(at(0).Add(-max(tt.behind, 0))) {
					t.Errorf("window %d begins at %s, the first at %s", i+2, since, first)
				}
			}
		})
	}
}

func TestAStartFollowsAServersClockThatIsFarBehind(t *testing.T) {
	const overlap = 2 * time.Minute
	for _, tt := range []struct {
		name string
		r    window.Reading
		want time.Time
	}{
		{"far behind", window.Begin(at(-86400), at(1)), at(-86400 - 121)},
		{"far behind, unreachable at first", window.Begin(at(-420), at(480)), at(-720 - 300)},
		{"within the margin", window.Begin(at(-599), at(1)), at(-720)},
		{"ahead", window.Begin(at(90), at(1)), at(-720)},
		{"a start in the future", window.Begin(at(-86400), at(-86400)), at(-720)},
		{"a start in the past", window.Begin(at(86400), at(2*86400)), at(-720)},
		{"no server's clock", window.Begin(time.Time{}, at(-90)), at(-720)},
	} {
		m, err := window.ParseMark(sdk.Query{Start: sdk.Start{At: at(0)}, Overlap: overlap})
		if err != nil {
			t.Fatal(err)
		}
		tt.r.Saw(at(-300))
		m = stored(t, m.After(tt.r))
		if !m.From.Equal(tt.want) {
			t.Errorf("%s: from %s, want %s", tt.name, m.From, tt.want)
		}
		if since := m.Since(overlap, time.Second); tt.want.Before(at(-720)) && since.After(tt.want) {
			t.Errorf("%s: the next window begins at %s and leaves out what is after %s", tt.name, since, tt.want)
		}
		// Later windows leave it alone.
		if later := stored(t, m.After(window.Begin(at(90000), at(90000)))); !later.From.Equal(m.From) {
			t.Errorf("%s: a later window moved it to %s", tt.name, later.From)
		}
	}
}

// TestInvariant1NothingIsLeftOutWhenTheServersClockIsSetBack: what changes after that is dated before what was read, and has to be asked
// for all the same.
func TestInvariant1NothingIsLeftOutWhenTheServersClockIsSetBack(t *testing.T) {
	const overlap, unit = 10 * time.Second, time.Second
	for _, tt := range []struct {
		name        string
		ahead       int // of the server's clock before, in seconds
		back, local int // by so much the clocks of the server and of this machine are set back
		down        int // so long nothing is read
		quiet       int // so long before that the newest change is
	}{
		{"by hours", 0, 3 * 3600, 0, 60, 0},
		{"by hours, to what is right", 3 * 3600, 3 * 3600, 0, 60, 0},
		{"to what is wrong", -3600, 5 * 3600, 0, 60, 0},
		{"by less than nothing was read for", 0, 1800, 0, 3600, 0},
		{"by less than the newest change is old", 0, 300, 0, 60, 900},
		{"by hours, after a quiet time", 0, 3 * 3600, 0, 60, 7200},
		{"together with this machine's", 0, 3 * 3600, 3 * 3600, 60, 0},
		{"while this machine's is set forward", 0, 3600, -7200, 60, 0},
		{"by a century", 100 * 365 * 86400, 100 * 365 * 86400, 0, 60, 0},
		{"by more than a duration holds", 7900 * 365 * 86400, 7900 * 365 * 86400, 0, 60, 0},
		{"by nothing, and this machine's is", 0, 0, 3600, 60, 0},
		{"by nothing", 0, 0, 0, 60, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := window.Mark{From: at(-86400 + tt.ahead)}
			read := func(server, local time.Time, newest time.Time) {
				r := window.Begin(server, local)
				r.Saw(newest)
				m = stored(t, m.After(r))
			}
			read(at(tt.ahead-60), at(-60), at(tt.ahead-tt.quiet-60))
			read(at(tt.ahead), at(0), at(tt.ahead-tt.quiet)) // the last before the clock is set back
			first := at(tt.ahead - tt.back)                  // that a change after that can be dated
			now := func(after int) (server, local time.Time) {
				return first.Add(time.Duration(after) * time.Second), at(after - tt.local)
			}
			server, local := now(tt.down)
			read(server, local, time.Time{})
			if since := m.Since(overlap, unit); since.After(first) {
				t.Errorf("the next window begins at %s and leaves out what was changed from %s on", since, first)
			}
			// From there it goes on as ever.
			server, local = now(tt.down + 60)
			read(server, local, server.Add(-30*time.Second))
			if want := server.Add(-30 * time.Second); m.T.Before(want) {
				t.Errorf("the watermark is %s, want %s", m.T, want)
			}
			for range 3 {
				server, local = server.Add(time.Minute), local.Add(time.Minute)
				before := m
				if read(server, local, time.Time{}); !m.T.Equal(before.T) || m.From.After(before.T) {
					t.Errorf("the watermark moved from %s to %s although nothing changed", before.T, m.T)
				}
			}
		})
	}
}

func TestAForeignWatermarkIsAGapThatAPersonAccepts(t *testing.T) {
	for _, b := range []string{"12345", `{"t":"c4n4ry"}`, `{"t":17}`, `"c4n4ry"`, `{"last":512}`, "null", "[]"} {
		_, err := window.ParseMark(sdk.Query{Watermark: []byte(b)})
		if sdk.CodeOf(err) != sdk.CodeWatermarkExpired || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%q: %v", b, err)
		}
	}
}

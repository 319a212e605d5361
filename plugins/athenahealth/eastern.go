// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"sync"
	"time"
	_ "time/tzdata" // the machine may have no zones

	"github.com/rounds-engine/rounds/sdk/window"
)

// layout is how the API writes and reads times: mm/dd/yyyy hh24:mi:ss, Eastern.
const layout = "01/02/2006 15:04:05"

// eastern is made when it is first needed: all bundled adapters are in one program.
var eastern = sync.OnceValue(func() easternTime {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // time/tzdata is imported
	}
	format, err := window.New(layout, zone)
	if err != nil {
		panic(err) // the layout is a constant
	}
	return easternTime{format, zone}
})

type easternTime struct {
	format window.Format
	zone   *time.Location
}

// from writes the begin of a range: an instant, or one before it.
func (e easternTime) from(t time.Time) string { return e.format.Since(t) }

// to writes the end of a range: an instant, or one behind it. In the second of the two hours that clocks show twice, the text of an
// instant may be read as one of the first; the end of both is written then.
func (e easternTime) to(t time.Time) string {
	if start, end := e.twice(t); !t.Before(start) {
		t = end
	}
	return t.In(e.zone).Format(layout)
}

// clear is an instant, or if clocks show it twice, the end of the two hours: what is asked for in pieces comes in its order only if
// both are in one piece.
func (e easternTime) clear(t time.Time) time.Time {
	for _, near := range []time.Time{t, t.Add(time.Hour)} { // in the second hour, and in the first
		if start, end := e.twice(near); !near.Before(start) && !near.After(end) {
			return end
		}
	}
	return t
}

// twice gives the second of the two hours that clocks show twice, if an instant is in it; else one that is over before it begins.
func (e easternTime) twice(t time.Time) (start, end time.Time) {
	begin, _ := t.In(e.zone).ZoneBounds()
	if begin.IsZero() {
		return t.Add(time.Second), t
	}
	_, now := t.In(e.zone).Zone()
	_, before := begin.Add(-time.Second).In(e.zone).Zone()
	again := time.Duration(before-now) * time.Second
	if again <= 0 || !t.Before(begin.Add(again)) {
		return t.Add(time.Second), t
	}
	return begin, begin.Add(again)
}

// parse reads a time of a record. One that comes twice is the later instant, unless that is yet to come.
func (e easternTime) parse(text string, now time.Time) (time.Time, error) {
	early, late, err := e.format.Parse(text)
	if err == nil && late.After(now) && !now.IsZero() {
		return early, nil
	}
	return late, err
}

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
	t = t.In(e.zone)
	start, _ := t.ZoneBounds()
	if start.IsZero() {
		return t.Format(layout)
	}
	_, now := t.Zone()
	_, before := start.Add(-time.Second).Zone()
	if twice := time.Duration(before-now) * time.Second; twice > 0 && t.Before(start.Add(twice)) {
		t = start.Add(twice)
	}
	return t.Format(layout)
}

// parse reads a time of a record. One that comes twice is the later instant, unless that is yet to come.
func (e easternTime) parse(text string, now time.Time) (time.Time, error) {
	early, late, err := e.format.Parse(text)
	if err == nil && late.After(now) && !now.IsZero() {
		return early, nil
	}
	return late, err
}

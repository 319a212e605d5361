// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"math"
	"regexp"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones must be known on a machine that has none installed

	"github.com/dop251/goja"
)

// invalid is an error of the library "rounds/…". Its text may be logged.
type invalid struct{ text string }

func (e *invalid) Error() string { return e.text }

// native is what the modules of the library call: the name of an operation and its arguments.
func (k *call) native(call goja.FunctionCall) goja.Value {
	var result string
	var err error
	switch op := call.Argument(0).String(); op {
	case "fail":
		err = &invalid{call.Argument(1).String()}
	case "toUTC":
		result, err = toUTC(call.Argument(1), call.Argument(2))
	case "parse":
		result, err = parseTime(call.Argument(1), call.Argument(2), call.Argument(3))
	case "format":
		result, err = formatTime(call.Argument(1), call.Argument(2), call.Argument(3))
	}
	if err != nil {
		panic(k.vm.NewGoError(err))
	}
	return k.vm.ToValue(result)
}

// localLayouts are the forms of a time without a zone that toUTC reads. Fractions of a second are read with any of them.
var localLayouts = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

func toUTC(local, zone goja.Value) (string, error) {
	text, ok := local.Export().(string)
	if !ok {
		return "", &invalid{"toUTC: the local time is not a string"}
	}
	loc, err := location("toUTC", zone)
	if err != nil {
		return "", err
	}
	for _, layout := range localLayouts {
		if wall, err := time.Parse(layout, text); err == nil {
			return utc(instant(wall, loc)), nil
		}
	}
	return "", &invalid{`toUTC: not a local time; it reads "2006-01-02T15:04:05" and shorter, without a zone (parse reads other layouts)`}
}

func parseTime(text, layout, zone goja.Value) (string, error) {
	s, ok := text.Export().(string)
	if !ok {
		return "", &invalid{"parse: the text is not a string"}
	}
	l, err := checkLayout("parse", layout)
	if err != nil {
		return "", err
	}
	if strings.Contains(l, "MST") {
		return "", &invalid{"parse: an abbreviation of a zone (MST in the layout) can mean many zones; leave it out and give the zone"}
	}
	at, err := time.Parse(l, s)
	if err != nil {
		return "", &invalid{"parse: the text is not of the layout, or not a time"}
	}
	if strings.Contains(l, "Z07") || strings.Contains(l, "-07") {
		return utc(at), nil
	}
	loc, err := location("parse", zone)
	if err != nil {
		return "", err
	}
	return utc(instant(at, loc)), nil
}

func formatTime(value, layout, zone goja.Value) (string, error) {
	l, err := checkLayout("format", layout)
	if err != nil {
		return "", err
	}
	loc := time.UTC
	if !goja.IsUndefined(zone) {
		if loc, err = location("format", zone); err != nil {
			return "", err
		}
	}
	var at time.Time
	switch v := value.Export().(type) {
	case time.Time: // a Date
		at = v
	case string:
		if at, err = time.Parse(time.RFC3339, v); err != nil {
			return "", &invalid{`format: not an instant; it takes "2006-01-02T15:04:05Z" or with an offset, a Date, or milliseconds`}
		}
	default:
		ms := value.ToFloat()
		if !goja.IsNumber(value) || math.Abs(ms) > 8.64e15 || math.IsNaN(ms) { // Date's range
			return "", &invalid{"format: not an instant; it takes a string, a valid Date, or milliseconds"}
		}
		at = time.UnixMilli(int64(ms))
	}
	return at.In(loc).Format(l), nil
}

func utc(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// instant is when the clocks of a zone show wall (a time in UTC's clothes). Where they show it twice, as summer time ends,
// it is the first time; where they skip it, as summer time begins, they are read as if they had not been put forward yet:
// 02:30 is what then shows as 03:30. RFC 5545 and Temporal ("compatible") do the same.
func instant(wall time.Time, loc *time.Location) time.Time {
	// The offsets a day before and after are those on both sides of a change of the clocks near wall.
	before, after := offset(wall.Add(-24*time.Hour), loc), offset(wall.Add(24*time.Hour), loc)
	first, second := wall.Add(-before), wall.Add(-after)
	switch {
	case offset(first, loc) == before:
		return first
	case offset(second, loc) == after:
		return second
	}
	return first
}

func offset(at time.Time, loc *time.Location) time.Duration {
	_, seconds := at.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

var fixedZone = regexp.MustCompile(`^([+-])(0\d|1[0-4]):([0-5]\d)$`)

// zones keeps what was loaded; there are some 600 names.
var zones sync.Map

// location reads the name of a zone: of the IANA, or an offset such as -05:00. The host's own zone is no answer.
func location(where string, zone goja.Value) (*time.Location, error) {
	name, _ := zone.Export().(string)
	if loc, ok := zones.Load(name); ok {
		return loc.(*time.Location), nil
	}
	wrong := &invalid{where + `: no such time zone; give a name such as "America/New_York", or an offset such as "-05:00"`}
	if m := fixedZone.FindStringSubmatch(name); m != nil {
		ahead, err := time.ParseDuration(m[1] + m[2] + "h" + m[3] + "m")
		if err != nil {
			return nil, wrong
		}
		return time.FixedZone("", int(ahead.Seconds())), nil
	}
	// The host's own names begin with a small letter: localtime, posixrules, right/… (with leap seconds), posix/….
	if name == "" || name == "Local" || name[0] < 'A' || name[0] > 'Z' {
		return nil, wrong
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, wrong
	}
	zones.Store(name, loc)
	return loc, nil
}

// foreignLayout finds the letters that other languages write layouts with.
var foreignLayout = regexp.MustCompile(`[Yy]{2,}|[Dd]{2}|MM|HH|hh|mm|ss|%[A-Za-z]`)

func checkLayout(where string, layout goja.Value) (string, error) {
	l, _ := layout.Export().(string)
	one := time.Date(2001, 2, 3, 4, 5, 6, 7e8, time.UTC)
	two := time.Date(2012, 11, 10, 21, 8, 9, 3e8, time.FixedZone("X", 3600))
	if foreignLayout.MatchString(l) || one.Format(l) == two.Format(l) {
		return "", &invalid{where + `: the layout is written with the time Mon Jan 2 15:04:05 2006, as in "01/02/2006 15:04"`}
	}
	return l, nil
}

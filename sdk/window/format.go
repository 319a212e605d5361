// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package window

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Format writes and reads a server's timestamps: a Go layout and the zone that local times are in, or numbers that count from
// the beginning of 1970.
type Format struct {
	layout string
	zone   *time.Location
	unit   time.Duration
	offset bool // the layout has the offset from UTC, so that no text is ambiguous
	epoch  bool // no layout: units since the beginning of 1970
}

// Epoch is the format of an API that counts units, a second or a part of it, since the beginning of 1970 in UTC.
func Epoch(unit time.Duration) Format { return Format{zone: time.UTC, unit: unit, epoch: true} }

// New checks a layout. RFC 3339 is time.RFC3339; a nil zone is UTC. The errors are texts that may be shown.
func New(layout string, zone *time.Location) (Format, error) {
	if zone == nil {
		zone = time.UTC
	}
	f := Format{layout: layout, zone: zone}
	probe := time.Date(2026, 5, 6, 7, 8, 9, 0, time.FixedZone("ABC", 3600))
	if probe.Format(layout) != probe.In(time.FixedZone("XYZ", 3600)).Format(layout) {
		return f, errors.New("abbreviations of time zones (MST) are ambiguous; use an offset (-07:00), or none and name the zone")
	}
	other := time.Date(2026, 5, 6, 7, 8, 9, 0, time.FixedZone("ABC", 7200))
	f.offset = probe.Format(layout) != other.Format(layout)

	for unit := time.Nanosecond; unit < time.Second && f.unit == 0; unit *= 10 {
		f.unit = f.tells(probe, unit)
	}
	for _, unit := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		if f.unit == 0 {
			f.unit = f.tells(probe, unit)
		}
	}
	if f.unit == 0 {
		return f, fmt.Errorf("is not a layout: it must write the reference time %s the way the server does", time.RFC3339)
	}
	// A layout must say all of a time down to its unit; one without the year, or with 03 hours and no PM, does not.
	for _, t := range []time.Time{
		time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), time.Date(2031, 12, 28, 19, 48, 59, 0, time.UTC),
	} {
		want := t.Truncate(f.unit)
		if got, err := time.Parse(layout, t.Format(layout)); err != nil || !got.Equal(want) {
			return f, errors.New("does not tell a time fully: year, month, day, and hours of 24 (15) or with PM are needed")
		}
	}
	return f, nil
}

func (f Format) tells(probe time.Time, unit time.Duration) time.Duration {
	if probe.Format(f.layout) != probe.Add(unit).Format(f.layout) {
		return unit
	}
	return 0
}

// Unit is the precision of the layout, or what an epoch counts.
func (f Format) Unit() time.Duration { return f.unit }

// IsEpoch says whether instants are numbers.
func (f Format) IsEpoch() bool { return f.epoch }

// Since writes the instant from which changes are asked for, rounded down. The zero time is the beginning: the year 1970.
//
// A local time of the hour that comes twice when summer time ends can be read as one of two instants, and a server may as
// well compare texts. For an instant in the first of the two hours, the time before both is written: however the server
// takes it, nothing is left out, and in the second hour the text alone leaves nothing out.
func (f Format) Since(t time.Time) string {
	if f.epoch {
		return f.count(t)
	}
	if t.IsZero() {
		return time.Date(1970, 1, 1, 0, 0, 0, 0, f.zone).Format(f.layout)
	}
	t = t.In(f.zone)
	if f.offset {
		return t.Format(f.layout)
	}
	if early, late := f.readings(wall(t)); t.Before(late) && !t.Before(early) {
		if _, end := t.ZoneBounds(); !end.IsZero() {
			t = end.Add(-late.Sub(early)).Add(-f.unit)
		}
	}
	return t.Format(f.layout)
}

// Until writes the instant up to which changes are asked for, rounded up, for APIs that are asked for a range. The end of a range that is
// written like that leaves nothing out, however the server takes it: for an instant in the second of two hours that clocks show twice, the
// end of both is written.
func (f Format) Until(t time.Time) string {
	if f.epoch {
		return f.count(t.Add(f.unit - 1))
	}
	t = t.In(f.zone)
	if !f.offset {
		if early, late := f.readings(wall(t)); early.Before(late) && !t.Before(late) {
			if begin, _ := t.ZoneBounds(); !begin.IsZero() {
				t = begin.Add(late.Sub(early))
			}
		}
	}
	return t.Add(f.unit - 1).Format(f.layout)
}

// ErrTime says that a text is not a time of the format. It does not quote the text.
var ErrTime = errors.New("not a time of this format")

// Parse reads a timestamp in the format or in RFC 3339. A local time that exists twice, or not at all, when the clock is set
// gives the earliest and the latest instant that can be meant; else both are the same.
func (f Format) Parse(s string) (early, late time.Time, err error) {
	var t time.Time
	if f.epoch {
		if t, err = f.counted(s); err == nil {
			return t, t, nil
		}
	} else {
		t, err = time.Parse(f.layout, s)
	}
	if err != nil {
		if t, err = time.Parse(time.RFC3339, s); err != nil {
			return early, late, ErrTime
		}
		return t.UTC(), t.UTC(), nil
	}
	if f.offset {
		return t.UTC(), t.UTC(), nil
	}
	early, late = f.readings(t)
	return early.UTC(), late.UTC(), nil
}

// count writes an instant as the number of whole units before it.
func (f Format) count(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	perSecond := int64(time.Second / f.unit)
	return strconv.FormatInt(t.Unix()*perSecond+int64(t.Nanosecond())/int64(f.unit), 10)
}

// lastSecond is the end of the year 9999, behind which no instant can be written down. A count of milliseconds that is taken
// for one of seconds leads there.
const lastSecond = 253402300799

// counted reads a decimal number of units, which may have a fraction. It goes by digits, as a float would lose some.
func (f Format) counted(s string) (time.Time, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, ErrTime
	}
	perSecond := uint64(time.Second / f.unit)
	seconds, nanos := int64(n/perSecond), int64(n%perSecond)*int64(f.unit)
	if seconds > lastSecond {
		return time.Time{}, ErrTime
	}
	for place := int64(f.unit) / 10; place > 0 && fraction != ""; place /= 10 {
		nanos += int64(fraction[0]-'0') * place
		fraction = fraction[1:]
	}
	if negative {
		seconds, nanos = -seconds, -nanos
	}
	t := time.Unix(seconds, nanos).UTC()
	if t.Year() < 0 {
		return time.Time{}, ErrTime
	}
	return t, nil
}

// wall is what a clock at t shows, as if it were UTC.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// readings gives the earliest and the latest instant at which clocks of the zone show a wall time. Those of a wall time that is
// skipped are what the offsets before and after it make of it.
func (f Format) readings(w time.Time) (early, late time.Time) {
	const day = 24 * time.Hour // no zone changes its offset twice within two days
	a, b := f.at(w, w.Add(-day)), f.at(w, w.Add(day))
	aFits, bFits := wall(a).Equal(w), wall(b).Equal(w)
	switch {
	case aFits && !bFits:
		b = a
	case bFits && !aFits:
		a = b
	}
	if b.Before(a) {
		a, b = b, a
	}
	return a, b
}

// at is the instant of a wall time if the zone's offset is that of the instant near.
func (f Format) at(w, near time.Time) time.Time {
	_, offset := near.In(f.zone).Zone()
	return w.Add(-time.Duration(offset) * time.Second).In(f.zone)
}

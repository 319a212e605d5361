// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package window_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/rounds-engine/rounds/sdk/window"
)

const local = "2006-01-02T15:04:05"

func format(t testing.TB, layout, zone string) window.Format {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	f, err := window.New(layout, loc)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestALayoutTellsItsPrecision(t *testing.T) {
	for layout, want := range map[string]time.Duration{
		time.RFC3339:                     time.Second,
		time.RFC3339Nano:                 time.Nanosecond,
		local:                            time.Second,
		"2006-01-02T15:04:05.000Z07:00":  time.Millisecond,
		"2006-01-02 15:04:05.999999":     time.Microsecond,
		"01/02/2006 15:04":               time.Minute,
		"01/02/2006 03:04:05 PM":         time.Second,
		"20060102150405":                 time.Second,
		"2006-01-02T15":                  time.Hour,
		"2006-01-02":                     24 * time.Hour,
		"Mon, 02 Jan 2006 15:04:05 GMT":  time.Second,
		"2006-01-02T15:04:05.00":         10 * time.Millisecond,
		"2006-01-02T15:04:05Z":           time.Second,
		"Mon Jan _2 15:04:05 -0700 2006": time.Second,
	} {
		f, err := window.New(layout, nil)
		if err != nil || f.Unit() != want {
			t.Errorf("%s: %s, %v, want %s", layout, f.Unit(), err, want)
		}
	}
}

func TestALayoutThatCannotHoldATimeIsRefused(t *testing.T) {
	for layout, want := range map[string]string{
		"":                     "is not a layout",
		"yyyy-MM-dd HH:mm:ss":  "is not a layout",
		"15:04:05":             "does not tell a time fully",
		"2006-01-02T03:04:05":  "does not tell a time fully",
		"01-02T15:04:05":       "does not tell a time fully",
		"2006-01 15:04":        "does not tell a time fully",
		"2006-01-02 15:05":     "does not tell a time fully",
		time.RFC1123:           "abbreviations of time zones",
		"2006-01-02T15:04 MST": "abbreviations of time zones",
	} {
		if _, err := window.New(layout, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", layout, err, want)
		}
	}
}

func TestInstantsAreWrittenInTheServersZoneRoundedDown(t *testing.T) {
	for _, tt := range []struct{ layout, zone, at, want string }{
		{time.RFC3339, "UTC", "2026-05-10T14:00:00.9Z", "2026-05-10T14:00:00Z"},
		{time.RFC3339, "America/New_York", "2026-05-10T14:00:00Z", "2026-05-10T10:00:00-04:00"},
		{local, "America/New_York", "2026-05-10T14:00:00.999Z", "2026-05-10T10:00:00"},
		{"2006-01-02", "America/New_York", "2026-05-10T03:59:59Z", "2026-05-09"},
		{"2006-01-02T15:04:05.000Z07:00", "UTC", "2026-05-10T14:00:00.0019Z", "2026-05-10T14:00:00.001Z"},
		{local, "America/New_York", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00"},
		{time.RFC3339, "UTC", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
	} {
		if got := format(t, tt.layout, tt.zone).Since(utc(tt.at)); got != tt.want {
			t.Errorf("%s in %s: %s, want %s", tt.at, tt.zone, got, tt.want)
		}
	}
}

// In New York of 2026, clocks go from 02:00 to 03:00 on 8 March (07:00Z), and from 02:00 back to 01:00 on 1 November (06:00Z).
func TestASinceInstantAroundClockChangesLeavesNothingOut(t *testing.T) {
	for _, tt := range []struct{ at, want string }{
		{"2026-03-08T06:59:59Z", "2026-03-08T01:59:59"},
		{"2026-03-08T07:00:00Z", "2026-03-08T03:00:00"},
		{"2026-11-01T04:59:59Z", "2026-11-01T00:59:59"},
		{"2026-11-01T05:00:00Z", "2026-11-01T00:59:59"}, // the first 01:00
		{"2026-11-01T05:50:00Z", "2026-11-01T00:59:59"},
		{"2026-11-01T05:59:59Z", "2026-11-01T00:59:59"},
		{"2026-11-01T06:00:00Z", "2026-11-01T01:00:00"}, // the second 01:00
		{"2026-11-01T06:30:00Z", "2026-11-01T01:30:00"},
		{"2026-11-01T07:00:00Z", "2026-11-01T02:00:00"},
	} {
		if got := format(t, local, "America/New_York").Since(utc(tt.at)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.at, got, tt.want)
		}
	}
}

// Servers read a local time in three ways; under each, every change from the bound on must be asked for, whatever zone.
func TestASinceInstantLeavesNothingOutHoweverTheServerReadsIt(t *testing.T) {
	for _, zone := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"} {
		f := format(t, local, zone)
		loc, _ := time.LoadLocation(zone)
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for bound := begin; bound.Before(begin.AddDate(1, 0, 0)); bound = bound.Add(17 * time.Minute) {
			asked := f.Since(bound)
			early, late, err := f.Parse(asked)
			if err != nil {
				t.Fatal(err)
			}
			if late.After(bound) || early.After(bound) {
				t.Fatalf("%s: %s is asked for as %s, which can be read as %s", zone, bound, asked, late)
			}
			for _, d := range []time.Duration{0, time.Second, 20 * time.Minute, 40 * time.Minute, time.Hour, 2 * time.Hour} {
				if text := bound.Add(d).In(loc).Format(local); text < asked {
					t.Fatalf("%s: a change at %s, of text %s, is before the text asked for, %s", zone, bound.Add(d), text, asked)
				}
			}
		}
	}
}

func TestTheEndOfARangeIsWrittenRoundedUp(t *testing.T) {
	for _, tt := range []struct{ layout, zone, at, want string }{
		{time.RFC3339, "UTC", "2026-05-10T14:00:00Z", "2026-05-10T14:00:00Z"},
		{time.RFC3339, "UTC", "2026-05-10T14:00:00.1Z", "2026-05-10T14:00:01Z"},
		{"01/02/2006 15:04:05", "America/New_York", "2026-05-10T14:00:00Z", "05/10/2026 10:00:00"},
		{"01/02/2006 15:04", "America/New_York", "2026-05-10T14:00:01Z", "05/10/2026 10:01"},
		{"2006-01-02", "America/New_York", "2026-05-10T04:00:00Z", "2026-05-10"},
		{"2006-01-02", "America/New_York", "2026-05-10T04:00:01Z", "2026-05-11"},
		{local, "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T01:30:00"}, // the first 01:30
		{local, "America/New_York", "2026-11-01T06:00:00Z", "2026-11-01T02:00:00"}, // the second 01:00
		{local, "America/New_York", "2026-11-01T06:30:00Z", "2026-11-01T02:00:00"},
		{local, "America/New_York", "2026-11-01T07:00:00Z", "2026-11-01T02:00:00"},
		{local, "America/New_York", "2026-03-08T07:00:00Z", "2026-03-08T03:00:00"},
	} {
		if got := format(t, tt.layout, tt.zone).Until(utc(tt.at)); got != tt.want {
			t.Errorf("%s in %s: %s, want %s", tt.at, tt.zone, got, tt.want)
		}
	}
	if got := window.Epoch(time.Second).Until(utc("2026-05-10T14:00:00.1Z")); got != "1778421601" {
		t.Errorf("a count: %s", got)
	}
}

func TestTheEndOfARangeLeavesNothingOutHoweverTheServerReadsIt(t *testing.T) {
	for _, zone := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"} {
		f := format(t, local, zone)
		loc, _ := time.LoadLocation(zone)
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for bound := begin; bound.Before(begin.AddDate(1, 0, 0)); bound = bound.Add(17 * time.Minute) {
			asked := f.Until(bound)
			early, _, err := f.Parse(asked)
			if err != nil {
				t.Fatal(err)
			}
			if early.Before(bound) {
				t.Fatalf("%s: a range to %s ends at %s, which can be read as %s", zone, bound, asked, early)
			}
			for _, d := range []time.Duration{0, time.Second, 20 * time.Minute, 40 * time.Minute, time.Hour} {
				if text := bound.Add(-d).In(loc).Format(local); text > asked {
					t.Fatalf("%s: a change at %s, of text %s, is behind the text asked for, %s", zone, bound.Add(-d), text, asked)
				}
			}
		}
	}
}

func TestALocalTimeThatIsAmbiguousIsReadBothWays(t *testing.T) {
	for _, tt := range []struct{ layout, text, early, late string }{
		{local, "2026-05-10T10:00:00", "2026-05-10T14:00:00Z", "2026-05-10T14:00:00Z"},
		{local, "2026-05-10T10:00:00.25", "2026-05-10T14:00:00.25Z", "2026-05-10T14:00:00.25Z"},
		{local, "2026-03-08T01:59:59", "2026-03-08T06:59:59Z", "2026-03-08T06:59:59Z"},
		{local, "2026-03-08T02:30:00", "2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"}, // never was
		{local, "2026-03-08T03:00:00", "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
		{local, "2026-11-01T00:59:59", "2026-11-01T04:59:59Z", "2026-11-01T04:59:59Z"},
		{local, "2026-11-01T01:00:00", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
		{local, "2026-11-01T01:59:59", "2026-11-01T05:59:59Z", "2026-11-01T06:59:59Z"},
		{local, "2026-11-01T02:00:00", "2026-11-01T07:00:00Z", "2026-11-01T07:00:00Z"},
		{local, "2026-11-01T01:30:00Z", "2026-11-01T01:30:00Z", "2026-11-01T01:30:00Z"},
		{local, "2026-11-01T01:30:00-05:00", "2026-11-01T06:30:00Z", "2026-11-01T06:30:00Z"},
		{time.RFC3339, "2026-11-01T01:30:00.5-04:00", "2026-11-01T05:30:00.5Z", "2026-11-01T05:30:00.5Z"},
		{"01/02/2006 03:04 PM", "11/01/2026 01:30 AM", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"},
	} {
		early, late, err := format(t, tt.layout, "America/New_York").Parse(tt.text)
		if err != nil || !early.Equal(utc(tt.early)) || !late.Equal(utc(tt.late)) {
			t.Errorf("%s: %s to %s, %v, want %s to %s", tt.text, early, late, err, tt.early, tt.late)
		}
	}
}

func TestAnEpochIsWrittenRoundedDownAndReadWithAllItsDigits(t *testing.T) {
	for _, tt := range []struct {
		unit     time.Duration
		at, want string
	}{
		{time.Second, "0001-01-01T00:00:00Z", "0"},
		{time.Second, "2026-05-10T14:00:00.999999999Z", "1778421600"},
		{time.Second, "1969-12-31T23:59:58.5Z", "-2"},
		{time.Millisecond, "0001-01-01T00:00:00Z", "0"},
		{time.Millisecond, "2026-05-10T14:00:00.0019Z", "1778421600001"},
		{time.Millisecond, "1969-12-31T23:59:59.9999Z", "-1"},
	} {
		f := window.Epoch(tt.unit)
		if got := f.Since(utc(tt.at)); got != tt.want || f.Unit() != tt.unit || !f.IsEpoch() {
			t.Errorf("%s in units of %s: %s, want %s", tt.at, tt.unit, got, tt.want)
		}
	}
	for _, tt := range []struct {
		unit       time.Duration
		text, want string // "": it is none
	}{
		{time.Second, "1778421600", "2026-05-10T14:00:00Z"},
		{time.Second, "1778421600.123456789", "2026-05-10T14:00:00.123456789Z"},
		{time.Second, "1778421600.1234567899", "2026-05-10T14:00:00.123456789Z"},
		{time.Second, "-1.5", "1969-12-31T23:59:58.5Z"},
		{time.Second, "0", "1970-01-01T00:00:00Z"},
		{time.Second, "2026-05-10T10:00:00-04:00", "2026-05-10T14:00:00Z"},
		{time.Second, "253402300799", "9999-12-31T23:59:59Z"},
		{time.Second, "253402300800", ""},
		{time.Second, "1778421600000", ""}, // milliseconds
		{time.Second, "-1778421600000", ""},
		{time.Second, "1.7784216e9", ""},
		{time.Second, "99999999999999999999", ""},
		{time.Second, "", ""},
		{time.Second, "-", ""},
		{time.Second, "--1", ""},
		{time.Second, "1.-5", ""},
		{time.Second, "1.5.5", ""},
		{time.Second, "0x10", ""},
		{time.Second, "2026-05-10T10:00:00", ""},
		{time.Millisecond, "1778421600001", "2026-05-10T14:00:00.001Z"},
		{time.Millisecond, "1778421600001.5", "2026-05-10T14:00:00.0015Z"},
		{time.Millisecond, "-1", "1969-12-31T23:59:59.999Z"},
		{time.Millisecond, "253402300799999", "9999-12-31T23:59:59.999Z"},
		{time.Millisecond, "253402300800000", ""},
	} {
		early, late, err := window.Epoch(tt.unit).Parse(tt.text)
		if tt.want == "" {
			if !errors.Is(err, window.ErrTime) {
				t.Errorf("%q in units of %s: %s, %v, want an error", tt.text, tt.unit, early, err)
			}
			continue
		}
		if err != nil || !early.Equal(utc(tt.want)) || late != early || early.Location() != time.UTC {
			t.Errorf("%q in units of %s: %s to %s, %v, want %s", tt.text, tt.unit, early, late, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"2026-11-01T01:00:00", "2026-03-08T02:30:00", "2026-05-10T10:00:00Z", "c4n4ry", "", "0000-01-01T00:00:00",
		"9999-12-31T23:59:59.999999999", "1778421600", "-1778421600.0019", "253402300799999", "-62167219200", "1e9"} {
		f.Add(s)
	}
	formats := []window.Format{format(f, local, "America/New_York"), format(f, time.RFC3339, "UTC"), format(f, "20060102", "Asia/Kathmandu"),
		window.Epoch(time.Second), window.Epoch(time.Millisecond)}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range formats {
			early, late, err := format.Parse(s)
			if err != nil {
				if !errors.Is(err, window.ErrTime) || err.Error() != window.ErrTime.Error() {
					t.Errorf("the error %q may quote what was read", err)
				}
				continue
			}
			if _, err := early.MarshalJSON(); err != nil && format.IsEpoch() {
				t.Errorf("%q is read as a time that can't be written down: %v", s, err)
			}
			if d := late.Sub(early); d < 0 || d > 24*time.Hour {
				t.Errorf("%q is read as %s to %s", s, early, late)
			}
		}
	})
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/script"
)

func withTime(expression string) string {
	return "import { format, parse, toUTC } from 'rounds/time';\n" + returning(expression)
}

func TestLocalTimesBecomeInstants(t *testing.T) {
	for expression, want := range map[string]string{
		`toUTC("2026-07-14T09:30:00", "America/New_York")`:                                            "2026-07-14T13:30:00Z",
		`toUTC("2026-01-14 09:30:00.25", "America/New_York")`:                                         "2026-01-14T14:30:00.25Z",
		`toUTC("2026-01-14T09:30", "+05:30")`:                                                         "2026-01-14T04:00:00Z",
		`toUTC("2026-01-14", "-05:00")`:                                                               "2026-01-14T05:00:00Z",
		`toUTC("2026-01-14T09:30", "UTC")`:                                                            "2026-01-14T09:30:00Z",
		`toUTC("2026-03-08T01:59:59", "America/New_York")`:                                            "2026-03-08T06:59:59Z",
		`toUTC("2026-03-08T02:00:00", "America/New_York")`:                                            "2026-03-08T07:00:00Z", // skipped: reads as 03:00 EDT
		`toUTC("2026-03-08T02:30:00", "America/New_York")`:                                            "2026-03-08T07:30:00Z", // skipped: reads as 03:30 EDT
		`toUTC("2026-03-08T03:00:00", "America/New_York")`:                                            "2026-03-08T07:00:00Z",
		`toUTC("2026-11-01T00:59:59", "America/New_York")`:                                            "2026-11-01T04:59:59Z",
		`toUTC("2026-11-01T01:30:00", "America/New_York")`:                                            "2026-11-01T05:30:00Z", // twice: the first
		`toUTC("2026-11-01T02:00:00", "America/New_York")`:                                            "2026-11-01T07:00:00Z",
		`toUTC("2026-03-29T02:30:00", "Europe/Berlin")`:                                               "2026-03-29T01:30:00Z",
		`toUTC("2026-10-25T02:30:00", "Europe/Berlin")`:                                               "2026-10-25T00:30:00Z",
		`toUTC("2026-10-04T02:15:00", "Australia/Lord_Howe")`:                                         "2026-10-03T15:45:00Z", // half an hour is skipped
		`toUTC("2011-12-30T12:00:00", "Pacific/Apia")`:                                                "2011-12-30T22:00:00Z", // a whole day was skipped
		`parse("07/14/2026 9:30 AM", "01/02/2006 3:04 PM", "America/Chicago")`:                        "2026-07-14T14:30:00Z",
		`parse("20261101013000", "20060102150405", "America/New_York")`:                               "2026-11-01T05:30:00Z",
		`parse("14 Jul 26 09:30 +0200", "02 Jan 06 15:04 -0700")`:                                     "2026-07-14T07:30:00Z",
		`parse("2026-07-14T09:30:00-04:00", "2006-01-02T15:04:05Z07:00")`:                             "2026-07-14T13:30:00Z",
		`parse("2026-07-14T09:30:00Z", "2006-01-02T15:04:05Z07:00", "Asia/Tokyo")`:                    "2026-07-14T09:30:00Z",
		`format("2026-07-14T13:30:00Z", "01/02/2006 15:04", "America/New_York")`:                      "07/14/2026 09:30",
		`format("2026-07-14T13:30:00+02:00", "2006-01-02T15:04:05Z07:00")`:                            "2026-07-14T11:30:00Z",
		`format(new Date("2026-01-14T13:30:00Z"), "Mon, 2 Jan 2006 3:04 PM MST", "America/New_York")`: "Wed, 14 Jan 2026 8:30 AM EST",
		`format(0, "20060102", "America/New_York")`:                                                   "19691231",
		`format(context.now, "2006", "-05:00")`:                                                       "2026",
	} {
		got, err := mapRecord(t, compile(t, withTime(expression)), small(`{}`))
		if want := `{"v":"` + want + `"}`; err != nil || got != want {
			t.Errorf("%s\n got %s, %v\nwant %s", expression, got, err, want)
		}
	}
}

// The instant of a local time shows that time again, unless the clocks skip it.
func TestLocalTimesOfTheMonthsOfClockChangesAreReadBack(t *testing.T) {
	s := compile(t, withTime(`change.data.filter((local) =>
		format(toUTC(local, fetched.patient), "2006-01-02T15:04:05", fetched.patient) !== local)`))
	for zone, skipped := range map[string]string{
		"America/New_York":    `{"v":["2026-03-08T02:00:00","2026-03-08T02:30:00"]}`,
		"Europe/London":       `{"v":["2026-03-29T01:00:00","2026-03-29T01:30:00"]}`,
		"Australia/Lord_Howe": `{"v":["2026-10-04T02:00:00"]}`,
	} {
		for day := range 365 {
			var locals []string
			for i := range 48 {
				at := time.Date(2026, 1, 1+day, 0, 30*i, 0, 0, time.UTC)
				locals = append(locals, at.Format("2006-01-02T15:04:05"))
			}
			switch time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC).Month() {
			case time.March, time.April, time.October, time.November: // the clocks change
			default:
				continue
			}
			r := small(`["` + strings.Join(locals, `","`) + `"]`)
			r.Fetched["patient"] = []byte(`"` + zone + `"`)
			got, err := mapRecord(t, s, r)
			if err != nil || got != `{"v":[]}` && got != skipped {
				t.Errorf("%s: not read back: %s, %v", zone, got, err)
			}
		}
	}
}

func TestMissingTimesStayMissing(t *testing.T) {
	got, err := mapRecord(t, compile(t, withTime(`[toUTC(null, "UTC"), parse(undefined, "2006", "UTC"), format(change.data.end, "2006")]`)), small(`{}`))
	if want := `{"v":[null,null,null]}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestTimesThatCantBeReadAreErrorsAtTheAuthorsLine(t *testing.T) {
	for expression, want := range map[string]string{
		`toUTC("Doe", "UTC")`:                       `toUTC: not a local time`,
		`toUTC("2026-02-30T00:00:00", "UTC")`:       `toUTC: not a local time`,
		`toUTC("2026-01-14T09:30:00Z", "UTC")`:      `toUTC: not a local time`,
		`toUTC(5, "UTC")`:                           `toUTC: the local time is not a string`,
		`toUTC("2026-01-14", "Doe/Town")`:           `toUTC: no such time zone; give a name`,
		`toUTC("2026-01-14", "Local")`:              `toUTC: no such time zone`,
		`toUTC("2026-01-14", "../../etc/passwd")`:   `toUTC: no such time zone`,
		`toUTC("2026-01-14", "localtime")`:          `toUTC: no such time zone`,
		`toUTC("2026-01-14", "./localtime")`:        `toUTC: no such time zone`,
		`toUTC("2026-01-14", "posixrules")`:         `toUTC: no such time zone`,
		`toUTC("2026-01-14", "posix/UTC")`:          `toUTC: no such time zone`,
		`toUTC("2026-01-14", "right/UTC")`:          `toUTC: no such time zone`,
		`toUTC("2026-01-14", "+25:00")`:             `toUTC: no such time zone`,
		`toUTC("2026-01-14", "EST5EDT4,Doe")`:       `toUTC: no such time zone`,
		`toUTC("2026-01-14")`:                       `toUTC: no such time zone`,
		`parse("Doe", "2006-01-02", "UTC")`:         `parse: the text is not of the layout, or not a time`,
		`parse("2026-01-14", "2006-01-02")`:         `parse: no such time zone`,
		`parse("2026-01-14", "YYYY-MM-DD", "UTC")`:  `parse: the layout is written with the time Mon Jan 2 15:04:05 2006`,
		`parse("2026-01-14 EST", "2006-01-02 MST")`: `parse: an abbreviation of a zone`,
		`parse("x", undefined, "UTC")`:              `parse: the layout is written with`,
		`parse({}, "2006", "UTC")`:                  `parse: the text is not a string`,
		`format("2026-01-14T09:30:00", "2006")`:     `format: not an instant`,
		`format("Doe", "2006")`:                     `format: not an instant`,
		`format(NaN, "2006")`:                       `format: not an instant`,
		`format(new Date(NaN), "2006")`:             `format: not an instant`,
		`format({}, "2006")`:                        `format: not an instant`,
		`format(0, "%Y-%m")`:                        `format: the layout is written with`,
		`format(0, "at noon")`:                      `format: the layout is written with`,
		`format(0, "2006", "Nowhere")`:              `format: no such time zone`,
	} {
		got, err := mapRecord(t, compile(t, withTime(expression)), small(`{}`))
		var own *script.Error
		if !errors.As(err, &own) || !strings.HasPrefix(own.Text, want) || own.File != "map.js" || own.Line != 2 || strings.Contains(err.Error(), "Doe") {
			t.Errorf("%s\n got %s, %v\nwant map.js:2: %s", expression, got, err, want)
		}
	}
}

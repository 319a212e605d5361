// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
)

// TestDatesAreTheSameWhateverTheZoneOfTheProcess: in UTC goja's own Date serves, elsewhere ours. A script can't tell.
func TestDatesAreTheSameWhateverTheZoneOfTheProcess(t *testing.T) {
	s := compile(t, `
		const texts = ["2026-03-08T02:30:00", "2026-03-08", "2026-03-08T02:30:00Z", "2026-03-08T02:30:00-05:00", "Mar 8, 2026 02:30:00",
			"Sun Mar 08 2026 02:30:00 GMT+0100", "08 Mar 2026", "nonsense", "2026-11-01T01:30:00.250", ""];
		const say = (f) => { try { return String(f()); } catch (e) { return e.name; } };
		const tell = (d) => [
			...["FullYear", "Month", "Date", "Hours", "Minutes", "Seconds", "Milliseconds", "Day"].map((p) => d["get" + p]()),
			d.getTimezoneOffset(), d.getTime(), say(() => d.toISOString()), d.toString(), d.toDateString(), d.toTimeString(), d.toUTCString(),
			d.toLocaleString(), d.toLocaleDateString(), d.toLocaleTimeString(), JSON.stringify(d), d + "", d - 0, d instanceof Date,
			Object.prototype.toString.call(d), d.constructor === Date,
		].map(String);
		export default () => {
			const changed = new Date(2026, 2, 8, 2, 30);
			changed.setHours(25, 61);
			class Own extends Date {}
			return {
				parsed: texts.map((x) => tell(new Date(x))), numbers: texts.map((x) => String(Date.parse(x))), now: tell(new Date()), at: Date.now(),
				parts: tell(new Date(2026, 2, 8, 2, 30, 15, 7)), year: tell(new Date(99, 0)), one: tell(new Date(2026)), copy: tell(new Date(changed)),
				changed: tell(changed), own: tell(new Own(2026, 1)), called: Date(), names: [Date.name, Date.length, Date.UTC(2026, 1)], invalid: tell(new Date(NaN)),
			};
		};
	`)
	mapped := func() string {
		t.Helper()
		body, err := s.Map(t.Context(), &record.Record{}, script.Context{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	elsewhere := mapped()
	host := time.Local
	time.Local = time.UTC
	defer func() { time.Local = host }()
	if here := mapped(); here != elsewhere {
		t.Errorf("in UTC a script sees\n%s\nelsewhere\n%s", here, elsewhere)
	}
}

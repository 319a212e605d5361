// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

const layout = "2006-01-02T15:04:05"

// A server that knows local times only may compare them as texts, or take one that exists twice for the earlier or the later.
func TestNoChangeIsLostAndNoneGoesBackWhenClocksChange(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	fold := utc("2026-11-01T06:00:00Z")
	instant := func(text string, later bool) time.Time {
		at, err := time.ParseInLocation(layout, text, newYork)
		if err != nil {
			t.Errorf("the server can't read %q", text)
		}
		for _, other := range []time.Time{at.Add(-time.Hour), at.Add(time.Hour)} {
			if other.Format(layout) == text && other.After(at) == later {
				at = other
			}
		}
		return at
	}
	for name, asked := range map[string]func(changed time.Time, since string) bool{
		"compares texts":    func(c time.Time, since string) bool { return c.In(newYork).Format(layout) >= since },
		"takes the earlier": func(c time.Time, since string) bool { return !c.Before(instant(since, false)) },
		"takes the later":   func(c time.Time, since string) bool { return !c.Before(instant(since, true)) },
	} {
		for _, begin := range []time.Time{fold.Add(-3 * time.Hour), utc("2026-03-08T05:00:00Z")} {
			for _, every := range []time.Duration{time.Minute, 13 * time.Minute, 45 * time.Minute, 2 * time.Hour} {
				t.Run(fmt.Sprint(name, begin.Month(), every), func(t *testing.T) {
					now := begin
					written := map[int]time.Time{} // one record, changed again and again, and others, changed once
					write := func(id int) { written[id] = now.Truncate(time.Second) }
					api := newAPI(t)
					api.serve(func(w http.ResponseWriter, r *http.Request) {
						var items []string
						for id, at := range written {
							if asked(at, r.URL.Query().Get("since")) {
								items = append(items, fmt.Sprintf(`{"id": %d, "updated": %q}`, id, at.In(newYork).Format(layout)))
							}
						}
						fmt.Fprint(w, "["+strings.Join(items, ",")+"]")
					})
					s := api.feed("")
					q := sdk.Query{Start: sdk.Start{At: now}, Overlap: time.Minute}
					seen := map[string]string{}
					var last time.Time
					for next := now.Add(every); now.Before(begin.Add(6 * time.Hour)); next = next.Add(every) {
						for now.Before(next) {
							write(0)
							write(int(now.Unix()))
							now = now.Add(5 * time.Minute)
						}
						api.mu.Lock()
						api.clock = now
						api.mu.Unlock()
						page := poll(t, s, q)
						q.Watermark = page.Watermark
						for _, c := range page.Changes {
							if c.Err != nil {
								t.Fatal(c.Err)
							}
							seen[c.Ref.ID] = c.Version
							if c.Ref.ID == "0" {
								if c.Time.Before(last) {
									t.Fatalf("at %s the record's new time is told as %s, before %s", now, c.Time, last)
								}
								last = c.Time
							}
						}
						for id, at := range written {
							if got := seen[fmt.Sprint(id)]; got != at.In(newYork).Format(layout) {
								t.Fatalf("at %s the change of %s is not known", now, at)
							}
						}
					}
				})
			}
		}
	}
}

func TestATimeThatExistsTwiceIsToldAsTheLatestThatIsNotInTheFuture(t *testing.T) {
	for now, want := range map[string]string{
		"2026-11-01T05:30:00Z": "2026-11-01T05:20:00Z",
		"2026-11-01T06:19:58Z": "2026-11-01T05:20:00Z",
		"2026-11-01T06:20:00Z": "2026-11-01T06:20:00Z",
		"2026-11-01T09:00:00Z": "2026-11-01T06:20:00Z",
	} {
		api := newAPI(t)
		api.clock = utc(now)
		api.answer(`[{"id": 1, "updated": "2026-11-01T01:20:00"}]`)
		page := poll(t, api.feed(""), sdk.Query{})
		if got := page.Changes[0].Time; !got.Equal(utc(want)) {
			t.Errorf("at %s: %s, want %s", now, got, want)
		}
		if !strings.HasPrefix(string(page.Watermark), `{"t":"2026-11-01T05:20:00Z",`) {
			t.Errorf("at %s: watermark %s", now, page.Watermark)
		}
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/plugins/athenahealth/simulator"
	"github.com/rounds-engine/rounds/sdk"
)

func TestWhatIsReadIsTakenOnceAndInOrder(t *testing.T) {
	c := open(t, simulator.Options{}, `, "page_size": 2`)
	c.Subscribe("appointments")
	r := c.reader("appointments")
	for n := range 5 {
		c.appointment(strconv.Itoa(n), "f")
	}
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	r.expect("0/f", "1/f", "2/f", "3/f", "4/f")
	if n := c.Waiting("appointments"); n > 0 {
		t.Errorf("%d messages still wait", n)
	}
	for _, call := range c.calls() {
		if strings.Contains(call, "offset=") && !strings.Contains(call, "leaveunprocessed=true") {
			t.Errorf("an offset into what shrinks as it is read: %s", call)
		}
	}
	c.pass(time.Hour)
	c.appointment("1", "x")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	r.expect("0/f", "1/f", "2/f", "3/f", "4/f", "1/x")
}

// TestNothingIsTakenBeforeItCanBeHadAgain: before there is a watermark or a cursor, a page that gets lost could not be found again.
func TestNothingIsTakenBeforeItCanBeHadAgain(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	c.appointment("1", "f")
	page, err := c.Poll(t.Context(), sdk.Query{Feed: "appointments", Recover: true})
	if err != nil || len(page.Changes) > 0 || page.Cursor == nil || c.Waiting("appointments") != 1 {
		t.Errorf("the first page: %d changes, cursor %s, %d wait, %v", len(page.Changes), page.Cursor, c.Waiting("appointments"), err)
	}
}

// TestAReadingThatWasNotAnsweredIsFoundAgain whatever became of it, and is not made again blindly.
func TestAReadingThatWasNotAnsweredIsFoundAgain(t *testing.T) {
	for name, cut := range map[string]func(w http.ResponseWriter){
		"the connection breaks": func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a gateway gives up":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		"half of it arrives": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"appointments": [{"appoint`))
		},
		"it is no JSON": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>Sorry</html>")) },
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, simulator.Options{}, "")
			c.Subscribe("appointments")
			r := c.reader("appointments")
			if err := r.window(); err != nil {
				t.Fatal(err)
			}
			c.pass(time.Minute)
			c.appointment("1", "f")
			readings := 0
			c.do(func() {
				c.after = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Query().Get("leaveunprocessed") == "true" {
						return false
					}
					if readings++; readings > 1 {
						return false
					}
					w.Header().Del("Content-Type")
					cut(w)
					return true
				}
			})
			err := r.window()
			replayed := strings.Contains(fmt.Sprint(err), "was sent again") // by net/http itself
			if err == nil || readings > 1 && !replayed {
				t.Errorf("%v after %d readings", err, readings)
			}
			c.appointment("2", "f")
			c.pass(time.Second)
			if err := r.window(); err != nil {
				t.Fatal(err)
			}
			r.expect("1/f", "2/f")
		})
	}
}

// TestAReadingThatTheServerMakesLateIsFoundAgain: it was given up here, and marked messages after others were read again.
func TestAReadingThatTheServerMakesLateIsFoundAgain(t *testing.T) {
	c := open(t, simulator.Options{}, "")
	c.Subscribe("appointments")
	r := c.reader("appointments")
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Minute)
	c.do(func() {
		c.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("leaveunprocessed") == "true" {
				return false
			}
			w.WriteHeader(http.StatusGatewayTimeout) // and it is at work on it
			return true
		}
	})
	if err := r.window(); err == nil {
		t.Fatal("a reading that was not answered succeeded")
	}
	c.do(func() { c.before = nil })
	c.pass(time.Second)
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.pass(time.Minute)
		if err := r.window(); err != nil {
			t.Fatal(err)
		}
	}
	c.appointment("1", "f")
	late := c.another("") // makes the reading as the server does now
	if page, err := late.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: r.watermark}); err != nil || page.Cursor == nil {
		t.Fatal(page, err)
	} else if _, err = late.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: r.watermark, Cursor: page.Cursor}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		c.pass(time.Minute)
		if err := r.window(); err != nil {
			t.Fatal(err)
		}
	}
	r.expect("1/f")
	c.calls()
	if err := r.window(); err != nil {
		t.Fatal(err)
	}
	if calls := c.calls(); len(calls) != 1 || strings.Contains(calls[0], "showprocessed") {
		t.Errorf("long after the failure it still reads again: %q", calls)
	}
}

// TestNothingIsLostWhateverFails reads with everything failing now and then, and with a new process now and then.
func TestNothingIsLostWhateverFails(t *testing.T) {
	for seed := range uint64(12) {
		lossless(t, seed, false)
		lossless(t, seed, true)
	}
}

func FuzzNothingIsLostWhateverFails(f *testing.F) {
	f.Add(uint64(1), true)
	f.Fuzz(lossless)
}

func lossless(t *testing.T, seed uint64, current bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	strikes := func(percent int) bool { return random.IntN(100) < percent }
	walls := []string{"", "early", "late"}
	c := open(t, simulator.Options{Current: current, Wall: walls[random.IntN(3)], MaxLimit: 1 + random.IntN(4), NoNext: random.IntN(2) > 0}, fmt.Sprintf(`, "page_size": %d`, 1+random.IntN(4)))
	if strikes(50) { // through the night in which an hour comes twice
		c.pass(time.Date(2026, 11, 1, 4, 0, 0, 0, time.UTC).Sub(c.now()))
	}
	c.Subscribe("appointments")
	r := c.reader("appointments")
	calm := false
	c.do(func() {
		fail := func(w http.ResponseWriter, r *http.Request) bool {
			if calm || r.URL.Path == "/oauth2/v1/token" || !strikes(10) {
				return false
			}
			w.WriteHeader(http.StatusBadRequest) // a call that is not repeated at once, which takes its time
			return true
		}
		c.before, c.after = fail, fail
	})
	r.lose = func(int) bool { return !calm && strikes(15) }
	last, states := map[string]string{}, map[string]int{}
	for range 40 {
		for range random.IntN(5) {
			id := strconv.Itoa(random.IntN(8))
			states[id]++
			last[id] = id + "/" + strconv.Itoa(states[id])
			c.appointment(id, strconv.Itoa(states[id]))
		}
		c.pass(time.Duration(random.IntN(240)) * time.Second)
		if strikes(10) {
			c.pass(time.Duration(random.IntN(180)) * time.Minute)
		}
		if strikes(20) {
			_ = c.Source.Close()
			c.Source, r.recover = c.another(fmt.Sprintf(`, "page_size": %d`, 1+random.IntN(4))), true
		}
		_ = r.window()
	}
	c.do(func() { calm = true })
	for range 20 {
		c.pass(time.Minute)
		if err := r.window(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	for id, state := range last {
		found := false
		for _, got := range r.got {
			found = found || got == state
		}
		if !found {
			t.Errorf("seed %d: the last state %s of %s is lost, committed is %q", seed, state, id, r.got)
		}
		for n := 1; n <= states[id] && !current; n++ {
			if !strings.Contains(" "+strings.Join(r.got, " ")+" ", fmt.Sprintf(" %s/%d ", id, n)) {
				t.Errorf("seed %d: state %d of %s is lost", seed, n, id)
			}
		}
	}
	if note, warned := r.notes["another-reader"]; warned {
		t.Errorf("seed %d: nobody else reads: %s", seed, note.Text)
	}
}

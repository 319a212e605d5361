// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
	"github.com/rounds-engine/rounds/sdk"
)

const (
	oncall = "webhook.oncall"
	other  = "webhook.other"
)

// rig is an engine as a loop sees it: one pipeline, visits of rest.clinic, and two destinations.
type rig struct {
	t      *testing.T
	memory *memstore.Memory
	faults *storetest.Faults
	config alert.Config

	mu  sync.Mutex
	is  alert.Now
	err error

	visits alert.Pipeline
	sends  alert.Destination
	log    bytes.Buffer
}

func simulate(t *testing.T, test func(r *rig), rules ...alert.Rule) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, memory: new(memstore.Memory), faults: &storetest.Faults{}}
		r.is = alert.Now{
			Pipelines:    []alert.PipelineNow{{Name: "visits"}},
			Destinations: []alert.DestinationNow{{Name: oncall}, {Name: other}},
			Sources:      []string{"rest.clinic"},
		}
		for i := range rules {
			if rules[i].To == "" {
				rules[i].To = oncall
			}
		}
		r.config = alert.Config{
			Rules: rules, Destinations: []string{oncall, other}, Host: "here", Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
			Now: func(context.Context) (alert.Now, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				return alert.Now{
					Pipelines: slices.Clone(r.is.Pipelines), Destinations: slices.Clone(r.is.Destinations), Sources: r.is.Sources,
				}, r.err
			},
		}
		test(r)
	})
}

// start begins the life of an engine; its end is a stop.
func (r *rig) start() (stop func()) {
	s := storetest.Faulty(r.memory.Open(store.Limits{Items: 5}), r.faults)
	r.config.Meter = alert.NewMeter()
	r.visits, r.sends = r.config.Meter.Pipeline("visits", "rest.clinic"), r.config.Meter.Destination(other)
	end := r.loop(s)
	return func() {
		end()
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

// loop runs a loop, as after a reload.
func (r *rig) loop(s store.Store) (stop func()) {
	c := r.config
	c.Claim, c.Limits = s.Claim, s.Limits()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		alert.New(c).Run(ctx)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

// set changes what the state says.
func (r *rig) set(change func(p *alert.PipelineNow, d *alert.DestinationNow)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.is.Pipelines[0], &r.is.Destinations[1])
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sent is what waits for a destination, by lane in the order of commit.
func (r *rig) sent(to string) []record.Entry {
	r.t.Helper()
	s := r.memory.Open(store.Limits{})
	box, err := s.Attach(r.t.Context(), to)
	if err != nil {
		r.t.Fatal(err)
	}
	lanes, _, err := box.Lanes(r.t.Context(), nil, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []record.Entry
	for _, lane := range slices.Sorted(slices.Values(lanes)) {
		entries, err := box.Head(r.t.Context(), lane, 100)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, entries...)
	}
	return all
}

// expect compares what was sent, as "alert subject state", each with an id of its own.
func (r *rig) expect(to string, want ...string) {
	r.t.Helper()
	var got []string
	ids := map[string]bool{}
	for _, e := range r.sent(to) {
		var m alert.Message
		if err := json.Unmarshal(e.Body, &m); err != nil {
			r.t.Fatal(err)
		}
		got = append(got, m.Alert+" "+m.Subject+" "+m.State)
		ids[e.ID] = true
		if e.Destination != to || e.Deliver != m.Alert || e.Pipeline != alert.Owner || e.Ref.Kind != "alert" || e.Version != m.State {
			r.t.Errorf("the entry of %s is %+v", got[len(got)-1], e)
		}
	}
	if !slices.Equal(got, want) || len(ids) != len(want) {
		r.t.Errorf("%s was sent %q with %d ids, want %q\n%s", to, got, len(ids), want, r.log.String())
	}
}

// texts are those of all that was sent.
func (r *rig) texts(to string) string {
	var all []string
	for _, e := range r.sent(to) {
		var m alert.Message
		if err := json.Unmarshal(e.Body, &m); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, m.Text)
	}
	return strings.Join(all, "\n")
}

var waiting = alert.Rule{Name: "waiting", Condition: alert.OutboxOlderThan, Limit: 600, ResolveAfter: 5 * time.Minute}

func (r *rig) stuck() {
	r.set(func(_ *alert.PipelineNow, d *alert.DestinationNow) { d.Oldest = time.Now() })
}
func (r *rig) unstuck() {
	r.set(func(_ *alert.PipelineNow, d *alert.DestinationNow) { d.Oldest = time.Time{} })
}

const (
	fired    = "waiting destination.webhook.other firing"
	resolved = "waiting destination.webhook.other resolved"
)

func TestEachConditionFiresOnceAndIsResolvedOnce(t *testing.T) {
	repeat := func(n int, each time.Duration, do func()) {
		for range n {
			do()
			pass(each)
		}
	}
	const about = "pipeline.visits"
	for _, c := range []struct {
		rule    alert.Rule
		subject string
		well    func(r *rig) // before and between
		early   func(r *rig) // it is not yet above
		above   func(r *rig) // and now it is
		again   func(r *rig) // it is well for longer than ResolveAfter
		texts   [2]string    // what is sent
		value   float64      // of the first, in unit
		unit    string
	}{
		{
			rule:    alert.Rule{Condition: alert.NoTrafficFor, Limit: 4 * 3600},
			subject: about,
			well:    func(r *rig) { r.visits.Notification(); pass(3 * time.Hour); r.visits.Notification() },
			early:   func(*rig) { pass(4*time.Hour - time.Minute) },
			above:   func(*rig) { pass(time.Hour) },
			again:   func(r *rig) { r.visits.Notification(); pass(10 * time.Minute) },
			texts: [2]string{
				"pipeline.visits made no notification for 4h0m5s, which is longer than 4h",
				"no_traffic_for of pipeline.visits is over, after 1h4m20s",
			},
			value: 4*3600 + 5, unit: "seconds",
		},
		{
			rule:    alert.Rule{Condition: alert.PollOlderThan, Limit: 1800},
			subject: about,
			well:    func(r *rig) { r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.LastPoll = time.Now() }) },
			early:   func(*rig) { pass(29 * time.Minute) },
			above:   func(*rig) { pass(time.Hour) },
			again: func(r *rig) {
				r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.LastPoll = time.Now() })
				pass(10 * time.Minute)
			},
			texts: [2]string{
				"pipeline.visits was polled for the last time 30m5s ago, which is longer than 30m",
				"poll_older_than of pipeline.visits is over, after 1h4m20s",
			},
			value: 1805, unit: "seconds",
		},
		{
			rule:    alert.Rule{Condition: alert.ErrorsAbove, Limit: 0.5, Over: 15 * time.Minute, Subject: about},
			subject: about,
			well:    func(r *rig) { repeat(10, 10*time.Second, func() { r.visits.Polled(1, "") }) },
			early:   func(r *rig) { repeat(10, 10*time.Second, func() { r.visits.Polled(0, sdk.CodeRetryable) }) },
			above:   func(r *rig) { r.visits.Fetched(sdk.CodeForbidden, 20); pass(10 * time.Second) },
			again: func(r *rig) {
				repeat(25*60, time.Second, func() { r.visits.Polled(1, ""); r.visits.Fetched(sdk.CodeNotFound, 1) })
			},
			texts: [2]string{
				"75% of the attempts of pipeline.visits failed in the last 15m, which is more than 50%",
				"errors_above of pipeline.visits is over, after 5m25s",
			},
			value: 0.75, unit: "share",
		},
		{
			rule:    alert.Rule{Condition: alert.ErrorsAbove, Limit: 0, Over: 15 * time.Minute, Subject: "destination." + other},
			subject: "destination." + other,
			well:    func(r *rig) { repeat(10, 10*time.Second, func() { r.sends.Attempted(nil) }) },
			early: func(r *rig) {
				pass(time.Hour)
				repeat(4, 10*time.Second, func() { r.sends.Attempted(&record.SendError{}) })
			},
			above: func(r *rig) { repeat(5, 10*time.Second, func() { r.sends.Attempted(&record.SendError{}) }) },
			again: func(r *rig) { pass(20 * time.Minute); r.sends.Attempted(nil); pass(10 * time.Minute) },
			texts: [2]string{
				"100% of the attempts of destination.webhook.other failed in the last 15m, which is more than 0%",
				"errors_above of destination.webhook.other is over, after 26m",
			},
			value: 1, unit: "share",
		},
		{
			rule:    alert.Rule{Condition: alert.DeadLettersAbove, Limit: 10},
			subject: about,
			well:    func(*rig) {},
			early:   func(r *rig) { r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.DeadLetters = 10 }) },
			above: func(r *rig) {
				r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.DeadLetters = 11 })
				pass(time.Hour)
			},
			again: func(r *rig) {
				r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.DeadLetters = 0 })
				pass(time.Hour)
			},
			texts: [2]string{
				"11 dead letters of pipeline.visits wait for a person, which is more than 10",
				"dead_letters_above of pipeline.visits is over, after 1h5m10s",
			},
			value: 11, unit: "dead letters",
		},
		{
			rule:    alert.Rule{Condition: alert.OutboxOlderThan, Limit: 600},
			subject: "destination." + other,
			well:    func(r *rig) { r.stuck(); pass(9 * time.Minute); r.unstuck() },
			early:   func(r *rig) { r.stuck(); pass(10 * time.Minute) },
			above:   func(*rig) { pass(time.Hour) },
			again:   func(r *rig) { r.unstuck(); pass(time.Hour) },
			texts: [2]string{
				"a notification has waited for destination.webhook.other for 10m5s, which is longer than 10m",
				"outbox_older_than of destination.webhook.other is over, after 1h5m10s",
			},
			value: 605, unit: "seconds",
		},
		{
			// Until noon 120 calls an hour, then 600, then 1,200.
			rule:    alert.Rule{Condition: alert.CallsPerDayAbove, Limit: 10_000},
			subject: "source.rest.clinic",
			well:    func(r *rig) { repeat(12*60, time.Minute, func() { r.visits.Polled(1, ""); r.visits.Fetched("", 1) }) },
			early:   func(r *rig) { repeat(30, time.Minute, func() { r.visits.Polled(10, "") }) },
			above:   func(r *rig) { repeat(90, time.Minute, func() { r.visits.Polled(20, "") }) },
			again:   func(r *rig) { repeat(3*60, time.Minute, func() { r.visits.Polled(1, "") }) },
			texts: [2]string{
				"source.rest.clinic will have made 10002 calls by the end of the day, which is more than 10000",
				"calls_per_day_above of source.rest.clinic is over, after 1h44m45s",
			},
			value: 10002, unit: "calls per day",
		},
	} {
		name := string(c.rule.Condition) + " of " + c.subject
		c.rule.Name, c.rule.ResolveAfter = "rule", 5*time.Minute
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				defer r.start()()
				c.well(r)
				pass(10 * time.Second)
				r.expect(oncall)
				c.early(r)
				r.expect(oncall)
				c.above(r)
				pass(10 * time.Second)
				r.expect(oncall, "rule "+c.subject+" firing")
				c.again(r)
				pass(10 * time.Minute)
				r.expect(oncall, "rule "+c.subject+" firing", "rule "+c.subject+" resolved")
				r.expect(other)
				if got := r.texts(oncall); got != strings.Join(c.texts[:], "\n") {
					t.Errorf("the texts are\n%s", got)
				}
				var m alert.Message
				if err := json.Unmarshal(r.sent(oncall)[0].Body, &m); err != nil {
					t.Fatal(err)
				}
				if m.Value != c.value || m.Unit != c.unit || m.Limit != c.rule.Limit || m.Condition != c.rule.Condition || m.Host != "here" {
					t.Errorf("the message is %+v", m)
				}
			}, c.rule)
		})
	}
}

func TestWhatFiresIsToldOnceOverARestart(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		r.stuck()
		pass(time.Hour)
		stop()
		pass(time.Hour)
		stop = r.start()
		pass(time.Hour)
		r.expect(oncall, fired)
		stop()
		defer r.start()()
		pass(time.Second)
		r.unstuck()
		pass(time.Hour)
		r.expect(oncall, fired, resolved)
		r.stuck()
		pass(time.Hour)
		r.expect(oncall, fired, resolved, fired)
	}, waiting)
}

// TestACrashAroundAnyCommitNeitherLosesAMessageNorRepeatsIt makes each write fail once, written and not written, with the process
// going on (the outcome is not known to it) and with a new one after it.
func TestACrashAroundAnyCommitNeitherLosesAMessageNorRepeatsIt(t *testing.T) {
	script := func(r *rig, crash bool) {
		stop := r.start()
		step := func() {
			pass(20 * time.Minute)
			if crash {
				stop()
				stop = r.start()
			}
		}
		r.stuck()
		step()
		r.unstuck()
		step()
		r.stuck()
		step()
		stop()
		r.expect(oncall, fired, resolved, fired)
	}
	for _, crash := range []bool{false, true} {
		for n, writes := 1, 1; n <= writes; n++ {
			for kind, faults := range map[string]*storetest.Faults{
				"not written": storetest.FailBefore(n, store.ErrBusy), "written": storetest.FailAfter(n, store.ErrUnknown),
			} {
				t.Run(fmt.Sprint("write ", n, " ", kind, " crash ", crash), func(t *testing.T) {
					simulate(t, func(r *rig) {
						r.faults = faults
						script(r, crash)
						writes = max(writes, min(faults.Writes(), 12))
					}, waiting)
				})
			}
		}
	}
}

// What is above and below its limit by turns is told once.
func TestAConditionAtItsBorderDoesNotFlap(t *testing.T) {
	simulate(t, func(r *rig) {
		defer r.start()()
		for i := range 100 {
			r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.DeadLetters = 10 + i%2 })
			pass(time.Minute)
		}
		r.expect(oncall, "rule pipeline.visits firing")
	}, alert.Rule{Name: "rule", Condition: alert.DeadLettersAbove, Limit: 10, ResolveAfter: 5 * time.Minute})
}

// After a start it is not known whether the receiver works again, and the time without an engine was not its fault.
func TestARestartSaysNeitherThatAllIsWellNorThatItIsNot(t *testing.T) {
	for _, wasFiring := range []bool{false, true} {
		t.Run(fmt.Sprint("firing ", wasFiring), func(t *testing.T) {
			simulate(t, func(r *rig) {
				stop := r.start()
				want := []string{}
				r.stuck()
				r.set(func(p *alert.PipelineNow, _ *alert.DestinationNow) { p.LastPoll = time.Now() })
				r.visits.Notification()
				for range 10 {
					r.sends.Attempted(&record.SendError{})
				}
				pass(time.Second)
				if wasFiring {
					pass(time.Hour)
					want = []string{"errors destination.webhook.other firing", "late pipeline.visits firing", "quiet pipeline.visits firing", fired}
				}
				stop()
				pass(10 * time.Hour)
				stop = r.start()
				pass(9 * time.Minute)
				got := r.sent(oncall)
				if len(got) != len(want) {
					t.Errorf("%d messages were sent, want %q: %s", len(got), want, r.texts(oncall))
				}
				stop()
			},
				waiting,
				alert.Rule{Name: "late", Condition: alert.PollOlderThan, Limit: 1800},
				alert.Rule{Name: "quiet", Condition: alert.NoTrafficFor, Limit: 1800},
				alert.Rule{Name: "errors", Condition: alert.ErrorsAbove, Limit: 0.5, Over: 15 * time.Minute},
			)
		})
	}
}

// The time for which a pipeline made no notification adds up over restarts, but for the time in which nothing ran.
func TestSilenceIsCountedOverRestarts(t *testing.T) {
	simulate(t, func(r *rig) {
		for range 3 {
			stop := r.start()
			pass(time.Hour)
			stop()
			pass(100 * time.Hour)
		}
		stop := r.start()
		pass(59 * time.Minute)
		r.expect(oncall)
		pass(2 * time.Minute)
		r.expect(oncall, "quiet pipeline.visits firing")
		stop()
	}, alert.Rule{Name: "quiet", Condition: alert.NoTrafficFor, Limit: 4 * 3600})
}

// After a kill, the silence that was counted is at most some minutes off.
func TestSilenceIsKeptWhileTheEngineRuns(t *testing.T) {
	simulate(t, func(r *rig) {
		crash := func() { r.faults.Before = func(int, storetest.Op) error { return store.ErrBusy } }
		stop := r.start()
		pass(2 * time.Hour)
		r.visits.Notification()
		pass(10 * time.Second) // it is kept at once that the silence is over
		crash()
		stop()
		r.faults.Before = nil
		stop = r.start()
		pass(3 * time.Hour)
		crash()
		stop()
		r.expect(oncall)
		r.faults.Before = nil
		stop = r.start()
		pass(66 * time.Minute)
		r.expect(oncall, "quiet pipeline.visits firing")
		stop()
	}, alert.Rule{Name: "quiet", Condition: alert.NoTrafficFor, Limit: 4 * 3600})
}

func TestTheCallsOfTheDayOutliveARestart(t *testing.T) {
	simulate(t, func(r *rig) { // at midnight
		stop := r.start()
		pass(12 * time.Hour)
		r.visits.Polled(1000, "")
		pass(time.Minute)
		stop()
		pass(time.Hour)
		stop = r.start()
		pass(2 * time.Hour)
		r.expect(oncall)
		r.visits.Polled(1400, "")
		pass(time.Minute)
		r.expect(oncall, "calls source.rest.clinic firing")
		pass(24 * time.Hour)
		r.expect(oncall, "calls source.rest.clinic firing", "calls source.rest.clinic resolved")
		stop()
	}, alert.Rule{Name: "calls", Condition: alert.CallsPerDayAbove, Limit: 14_500})
}

func TestWhatIsNoLongerConfiguredIsResolvedWhereItWasTold(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"rule removed":     func(r *rig) { r.config.Rules = nil },
		"subject narrowed": func(r *rig) { r.config.Rules[0].Subject = "destination." + oncall },
		"rule renamed":     func(r *rig) { r.config.Rules[0].Name, r.config.Rules[0].Limit = "renamed", 1e6 },
		"subject removed":  func(r *rig) { r.is.Destinations = r.is.Destinations[:1] },
		"limit raised":     func(r *rig) { r.config.Rules[0].Limit = 1e6 },
		"sent elsewhere":   func(r *rig) { r.config.Rules[0].To, r.config.Rules[0].Limit = other, 1e6 },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				stop := r.start()
				r.stuck()
				pass(time.Hour)
				r.expect(oncall, fired)
				stop()
				change(r)
				defer r.start()()
				pass(time.Hour)
				want := []string{fired, resolved}
				if r.expect(oncall, want...); name == "limit raised" || name == "sent elsewhere" {
					return // the restart does not know that all is well
				}
				if !strings.HasSuffix(r.texts(oncall), "outbox_older_than of destination.webhook.other is no longer looked at: the configuration was changed") {
					t.Errorf("the texts are %s", r.texts(oncall))
				}
			}, waiting)
		})
	}
}

func TestWhoIsGoneIsToldNothing(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		r.stuck()
		pass(time.Hour)
		stop()
		r.config.Destinations, r.config.Rules[0].To = []string{other}, other
		defer r.start()()
		r.unstuck()
		pass(time.Hour)
		r.expect(oncall, fired) // it waits there for somebody to put the name back
		r.expect(other, resolved)
	}, waiting)
}

func TestEachSubjectIsToldOnItsOwn(t *testing.T) {
	simulate(t, func(r *rig) {
		r.is.Pipelines = nil
		var want []string
		for i := range 20 {
			name := fmt.Sprintf("p%02d", i)
			r.is.Pipelines = append(r.is.Pipelines, alert.PipelineNow{Name: name, DeadLetters: i})
			if i > 2 {
				want = append(want, "rule pipeline."+name+" firing")
			}
		}
		defer r.start()()
		pass(time.Minute)
		r.expect(oncall, want...)
	}, alert.Rule{Name: "rule", Condition: alert.DeadLettersAbove, Limit: 2})
}

func TestAMappingMakesTheMessage(t *testing.T) {
	var fails, drops bool
	mapped := waiting
	mapped.Map = func(_ context.Context, r *record.Record) ([]byte, error) {
		var m alert.Message
		if err := json.Unmarshal(r.Change.Data, &m); err != nil || r.Change.Version != m.State || r.Change.Ref.Kind != "alert" {
			t.Errorf("%v: the record is %+v", err, r)
		}
		switch {
		case fails:
			return nil, errors.New("no")
		case drops:
			return nil, nil
		}
		return json.Marshal(map[string]string{"text": m.Text})
	}
	simulate(t, func(r *rig) {
		defer r.start()()
		r.stuck()
		pass(time.Hour)
		if got := string(r.sent(oncall)[0].Body); got != `{"text":"a notification has waited for destination.webhook.other for 10m5s, which is longer than 10m"}` {
			t.Errorf("it was sent %s", got)
		}
		drops = true
		r.unstuck()
		pass(time.Hour)
		r.stuck()
		pass(time.Hour)
		if n := len(r.sent(oncall)); n != 1 {
			t.Errorf("%d messages, want the first only", n)
		}
		fails = true
		r.unstuck()
		pass(time.Hour)
		var m alert.Message
		if sent := r.sent(oncall); len(sent) != 2 || json.Unmarshal(sent[1].Body, &m) != nil || m.State != "resolved" {
			t.Errorf("%d messages, the last is %+v", len(sent), m)
		}
		if !strings.Contains(r.log.String(), "the mapping of an alert failed") {
			t.Errorf("the log says nothing:\n%s", r.log.String())
		}
	}, mapped)
}

func TestNothingIsToldWhileNothingIsKnown(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		r.stuck()
		pass(time.Hour)
		r.mu.Lock()
		r.err, r.is.Destinations = errors.New("the engine is starting or stopping"), nil
		r.mu.Unlock()
		pass(time.Hour)
		r.expect(oncall, fired)
		if n := strings.Count(r.log.String(), "the engine is starting or stopping"); n != 1 {
			t.Errorf("the log says it %d times:\n%s", n, r.log.String())
		}
		stop()
	}, waiting)
}

func TestAnotherOwnerOfTheStateEndsNothing(t *testing.T) {
	simulate(t, func(r *rig) {
		s := r.memory.Open(store.Limits{})
		r.config.Meter = alert.NewMeter()
		defer r.loop(s)()
		r.stuck()
		pass(time.Minute)
		if _, err := s.Claim(t.Context(), alert.Owner); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		r.expect(oncall, fired)
	}, waiting)
}

// Without alerts, an engine looks once, and writes nothing.
func TestWithoutRulesNothingIsWritten(t *testing.T) {
	simulate(t, func(r *rig) {
		s := r.memory.Open(store.Limits{})
		r.config.Meter = alert.NewMeter()
		alert.New(alert.Config{Meter: r.config.Meter, Now: r.config.Now, Claim: s.Claim, Limits: s.Limits(), Logger: r.config.Logger}).Run(t.Context())
		positions, err := s.Admin().Positions(t.Context())
		if err != nil || positions[alert.Owner].Commit > 0 {
			t.Errorf("%v: the state has %v", err, positions)
		}
	})
}

func TestTheOwnersNameIsNone(t *testing.T) {
	if !alert.Reserved(alert.Owner) || alert.Reserved("alerts") {
		t.Error("the name of the owner is to be reserved, and no name that a pipeline can have")
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/engine/store/memstore"
	"github.com/rounds-engine/rounds/engine/store/storetest"
)

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
						writes = max(writes, min(faults.Writes(), 20))
					}, waiting)
				})
			}
			if n == writes && n < 5 {
				t.Errorf("there were %d writes, and there should be more", n)
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
					want = []string{
						"errors destination.webhook.other firing", "late pipeline.visits firing", "quiet pipeline.visits firing", fired,
					}
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
		stop := r.start()
		pass(2 * time.Hour)
		r.visits.Notification()
		pass(10 * time.Second) // it is kept at once that the silence is over
		r.kill(stop)
		stop = r.start()
		pass(3 * time.Hour)
		r.kill(stop)
		r.expect(oncall)
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
		for n := range 120 { // the pipeline is busy, so that there is no silence to keep
			r.visits.Notification()
			if n == 60 {
				r.visits.Polled(1000, "")
			}
			pass(10 * time.Second)
		}
		r.kill(stop)
		pass(time.Hour)
		stop = r.start()
		pass(2 * time.Hour)
		r.expect(oncall)
		r.visits.Polled(1400, "")
		pass(time.Minute)
		r.expect(oncall, "calls source.rest.clinic firing")
		pass(24 * time.Hour)
		r.expect(oncall, "calls source.rest.clinic firing", "calls source.rest.clinic resolved")
		r.visits.Polled(1300, "") // those of the day before do not count
		pass(time.Minute)
		r.expect(oncall, "calls source.rest.clinic firing", "calls source.rest.clinic resolved")
		stop()
	}, alert.Rule{Name: "calls", Condition: alert.CallsPerDayAbove, Limit: 14_200})
}

func TestWhatIsNoLongerConfiguredIsResolvedWhereItWasTold(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"rule removed":     func(r *rig) { r.config.Rules = nil },
		"subject narrowed": func(r *rig) { r.config.Rules[0].Subject = "destination." + oncall },
		"rule renamed":     func(r *rig) { r.config.Rules[0].Name, r.config.Rules[0].Limit = "renamed", 1e6 },
		"other condition": func(r *rig) {
			r.config.Rules[0].Condition, r.config.Rules[0].Limit, r.config.Rules[0].Over = alert.ErrorsAbove, 0.5, time.Hour
		},
		"subject removed": func(r *rig) { r.is.Destinations = r.is.Destinations[:1] },
		"limit raised":    func(r *rig) { r.config.Rules[0].Limit = 1e6 },
		"sent elsewhere":  func(r *rig) { r.config.Rules[0].To, r.config.Rules[0].Limit = other, 1e6 },
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
				const why = "outbox_older_than of destination.webhook.other is no longer looked at: the configuration was changed"
				if !strings.HasSuffix(r.texts(oncall), why) {
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
		stop := r.start()
		pass(time.Minute)
		r.expect(oncall, want...)
		stop()
		stop = r.start()
		pass(time.Minute)
		r.expect(oncall, want...)
		stop()
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
		const want = `{"text":"a notification has waited for destination.webhook.other for 10m5s, which is longer than 10m"}`
		if got := string(r.sent(oncall)[0].Body); got != want {
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

// TestADestinationThatNothingWaitsForFailsInNothing: one that gets few notifications, or whose outbox was emptied by a person, would else be
// failing until the next one comes. Where something waits and is not sent, as to a destination that is paused, nothing is known.
func TestADestinationThatNothingWaitsForFailsInNothing(t *testing.T) {
	errs := alert.Rule{Name: "errors", Condition: alert.ErrorsAbove, Limit: 0.5, Over: 15 * time.Minute, ResolveAfter: 5 * time.Minute}
	simulate(t, func(r *rig) {
		stop := r.start()
		r.stuck()
		for range 10 {
			r.sends.Attempted(&record.SendError{})
			pass(time.Second)
		}
		pass(time.Hour)
		r.expect(oncall, "errors destination.webhook.other firing")
		stop()
		stop = r.start()
		r.unstuck()
		pass(14 * time.Minute)
		r.expect(oncall, "errors destination.webhook.other firing")
		pass(7 * time.Minute)
		r.expect(oncall, "errors destination.webhook.other firing", "errors destination.webhook.other resolved")
		stop()
	}, errs)
}

func TestInvariant8ADefectEndsNothing(t *testing.T) {
	simulate(t, func(r *rig) {
		var broken atomic.Bool
		broken.Store(true)
		inner := r.config.Now
		r.config.Now = func(ctx context.Context) (alert.Now, error) {
			if broken.Load() {
				panic("CANARY")
			}
			return inner(ctx)
		}
		defer r.start()()
		r.stuck()
		pass(20 * time.Minute)
		broken.Store(false)
		pass(time.Minute)
		r.expect(oncall, fired)
		if log := r.log.String(); strings.Contains(log, "CANARY") || !strings.Contains(log, "internal error (string)") {
			t.Errorf("the log says\n%s", log)
		}
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
		r.config.Claim, r.config.Limits = s.Claim, s.Limits()
		alert.New(r.config).Run(t.Context())
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

// TestIdsAfterARestore: the state is that of a backup, so generations count again. A receiver that has the alert of before must not
// take the next one for it.
func TestIdsAfterARestore(t *testing.T) {
	simulate(t, func(r *rig) {
		var ids []string
		for range 2 {
			r.memory = new(memstore.Memory) // from a backup of before either
			stop := r.start()
			r.stuck()
			pass(time.Hour)
			stop()
			r.expect(oncall, fired)
			ids = append(ids, r.sent(oncall)[0].ID)
		}
		if ids[0] == ids[1] {
			t.Errorf("two alerts have the id %s", ids[0])
		}
	}, waiting)
}

// A configuration that is refused is made before it is refused: that must put no alert off.
func TestAPipelineThatIsMadeAndNotStartedChangesNoAge(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		defer stop()
		pass(25 * time.Minute)
		r.config.Meter.Pipeline("visits", "rest.clinic")
		pass(10 * time.Minute)
		if got := r.sent(oncall); len(got) != 1 {
			t.Errorf("%d messages after 35 minutes without a poll, want 1", len(got))
		}
	}, alert.Rule{Name: "late", Condition: alert.PollOlderThan, Limit: 1800})
}

// TestAClockThatWasSetBackSilencesNoAlert: what waits since before is dated in the future.
func TestAClockThatWasSetBackSilencesNoAlert(t *testing.T) {
	simulate(t, func(r *rig) {
		stop := r.start()
		r.set(func(p *alert.PipelineNow, d *alert.DestinationNow) {
			p.LastPoll, d.Oldest = time.Now().AddDate(1, 0, 0), time.Now().AddDate(1, 0, 0)
		})
		pass(9 * time.Minute)
		r.expect(oncall)
		pass(2 * time.Minute)
		r.expect(oncall, "polled pipeline.visits firing", fired)
		stop()
	}, waiting, alert.Rule{Name: "polled", Condition: alert.PollOlderThan, Limit: 600})
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/alert"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
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
				r.stuck()
				repeat(4, 10*time.Second, func() { r.sends.Attempted(&record.SendError{}) })
			},
			above: func(r *rig) { repeat(5, 10*time.Second, func() { r.sends.Attempted(&record.SendError{}) }) },
			again: func(r *rig) { pass(20 * time.Minute); r.sends.Attempted(nil); r.unstuck(); pass(10 * time.Minute) },
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

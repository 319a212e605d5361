// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"fmt"
	"strings"
	"time"
)

// Message is what a destination is told.
//
// Invariant 6: names of the configuration, numbers and times, and nothing of a record.
type Message struct {
	Alert     string    `json:"alert"`
	Condition Condition `json:"condition"`
	Subject   string    `json:"subject"`
	State     string    `json:"state"` // "firing" or "resolved"
	Since     time.Time `json:"since"` // when it began to fire
	Time      time.Time `json:"time"`  // of the message
	Value     float64   `json:"value"`
	Limit     float64   `json:"limit"`
	Unit      string    `json:"unit"` // of both
	Text      string    `json:"text"`
	Host      string    `json:"host,omitempty"`
}

const (
	isFiring   = "firing"
	isResolved = "resolved"
)

func (c Condition) unit() string {
	switch c {
	case ErrorsAbove:
		return "share"
	case DeadLettersAbove:
		return "dead letters"
	case CallsPerDayAbove:
		return "calls per day"
	}
	return "seconds"
}

func (l *Loop) message(now, since time.Time, r *Rule, s subject, m measured, state, text string) Message {
	return Message{
		Alert: r.Name, Condition: r.Condition, Subject: s.name(), State: state, Since: since.UTC(), Time: now.UTC(),
		Value: m.value, Limit: r.Limit, Unit: r.Condition.unit(), Text: text, Host: l.Host,
	}
}

func (l *Loop) fires(now time.Time, r *Rule, s subject, m measured) Message {
	value, limit := seconds(m.value), seconds(r.Limit)
	var text string
	switch r.Condition {
	case NoTrafficFor:
		text = fmt.Sprintf("%s made no notification for %s, which is longer than %s", s.name(), value, limit)
	case PollOlderThan:
		text = fmt.Sprintf("%s was polled for the last time %s ago, which is longer than %s", s.name(), value, limit)
		if s.pipeline.LastPoll.IsZero() {
			text = fmt.Sprintf("%s was not polled since its start %s ago, which is longer than %s", s.name(), value, limit)
		}
	case OutboxOlderThan:
		text = fmt.Sprintf("a notification has waited for %s for %s, which is longer than %s", s.name(), value, limit)
	case ErrorsAbove:
		text = fmt.Sprintf("%.0f%% of the attempts of %s failed in the last %s, which is more than %.0f%%", 100*m.value, s.name(),
			seconds(r.Over.Seconds()), 100*r.Limit)
	case DeadLettersAbove:
		text = fmt.Sprintf("%.0f dead letters of %s wait for a person, which is more than %.0f", m.value, s.name(), r.Limit)
	case CallsPerDayAbove:
		text = fmt.Sprintf("%s will have made %.0f calls by the end of the day, which is more than %.0f", s.name(), m.value, r.Limit)
	}
	return l.message(now, now, r, s, m, isFiring, text)
}

func (l *Loop) resolved(now time.Time, r *Rule, s subject, m measured, was *firing) Message {
	since := was.kept.Message.Since
	text := fmt.Sprintf("%s of %s is over, after %s", r.Condition, s.name(), seconds(now.Sub(since).Seconds()))
	return l.message(now, since, r, s, m, isResolved, text)
}

// removed is about an alert that is no longer configured, or whose subject is not.
func removed(now time.Time, was *firing) Message {
	m := was.kept.Message
	m.State, m.Time = isResolved, now.UTC()
	m.Text = fmt.Sprintf("%s of %s is no longer looked at: the configuration was changed", m.Condition, m.Subject)
	return m
}

// seconds writes a duration as a person would: "4h1m", not "4h1m0s".
func seconds(n float64) string {
	d := time.Duration(n * float64(time.Second))
	if d >= time.Minute {
		d = d.Round(time.Second)
	} else {
		d = d.Round(time.Millisecond)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

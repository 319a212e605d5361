// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Alert says when somebody is to be told, and where.
type Alert struct {
	Name         string
	Condition    string        // name of its attribute: "no_traffic_for"
	Limit        float64       // seconds, a share from 0 to 1, or a number, as the condition has it
	Over         time.Duration // that a share is counted over; 0: the condition is no share
	Subject      string        // "pipeline.NAME", "destination.ID", "source.ID"; empty: all that the condition can be about, each on its own
	Destination  string        // ID of the destination that is told
	ResolveAfter time.Duration // how long the condition has to be gone
	Script       string        // absolute path of the mapping that makes the message; empty: none
}

type condition struct {
	name  string
	about []string
}

// conditions are the attributes of which an alert has one, in the order of their schema, and what they can be about.
var conditions = []condition{
	{"no_traffic_for", []string{"pipeline"}},
	{"poll_older_than", []string{"pipeline"}},
	{"errors_above", []string{"pipeline", "destination"}},
	{"dead_letters_above", []string{"pipeline"}},
	{"outbox_older_than", []string{"destination"}},
	{"calls_per_day_above", []string{"source"}},
}

// subjects are the attributes of which an alert has one at most, and how what they name is written.
var subjects = []struct{ name, form string }{
	{"pipeline", "pipeline.NAME"}, {"destination", "destination.TYPE.NAME"}, {"source", "source.ADAPTER.NAME"},
}

func (l *loader) alerts() {
	for _, block := range l.of("alert") {
		o, ok := l.decode(block, alertSchema)
		before := len(l.diags)
		a := Alert{Name: block.Labels[0]}
		asks := l.condition(o, ok, &a)
		l.subject(o, &a)
		l.pollsInTime(asks, &a)
		a.ResolveAfter = l.duration(o, "resolve_after", defaultResolved, 0, &ok)
		if to, given := o.attributes["to"]; given {
			a.Destination = l.destinationReference(to.expr)
			if about, given := o.attributes["destination"]; given && a.Destination != "" && a.Subject == "destination."+a.Destination {
				l.errorf(about.expr.Range(), "Alert about its own way",
					"The alert would wait with what it tells of: send it to another destination.")
			}
		}
		if script, at := take(o, "map", ""); script != "" {
			a.Script = absolute(l.dir, script)
			l.script(at, script, a.Script, false)
		} else if at != o.header {
			l.errorf(at, "Missing script", "The name of the script is empty.")
		} else if kind, _, to := strings.Cut(a.Destination, "."); to && l.opts.CheckBody != nil && l.opts.CheckBody(kind, []byte("{}")) != "" {
			l.errorf(o.header, "Missing attribute",
				`alert %q needs "map": a destination of type %q can't send an alert as it is, and a script makes of it what it can send.`, a.Name, kind)
		}
		if ok && len(l.diags) == before {
			l.config.Alerts = append(l.config.Alerts, a)
		}
	}
}

// condition reads the one condition of an alert, and gives where it stands; ok says that the block has no other mistake, such as a
// misspelt one.
func (l *loader) condition(o *object, ok bool, a *Alert) (at hcl.Range) {
	for _, c := range conditions {
		given, there := o.attributes[c.name]
		switch {
		case !there:
		case a.Condition == "":
			a.Condition, at = c.name, given.expr.Range()
			l.limit(o, a)
		default:
			l.errorf(given.expr.Range(), "Conflicting attributes",
				"An alert has one condition, and this one has %q: write another alert block.", a.Condition)
		}
	}
	if a.Condition == "" && ok {
		l.errorf(o.header, "Missing attribute", "alert %q needs a condition, one of: %s.", a.Name, list(conditionNames()))
	}
	over, given := o.attributes["over"]
	switch {
	case a.Condition == "errors_above":
		a.Over = l.duration(o, "over", defaultErrorsOver, leastOver, &ok)
		if a.Over > mostOver {
			l.errorf(over.expr.Range(), "Wrong value", `"over" is at most %s.`, mostOver)
		}
	case given && a.Condition != "":
		l.errorf(over.expr.Range(), "Unexpected attribute", `"over" has a meaning together with "errors_above" only.`)
	}
	return at
}

// pollsInTime refuses an alert that would fire between any two polls.
func (l *loader) pollsInTime(at hcl.Range, a *Alert) {
	if a.Condition != "poll_older_than" || a.Limit <= 0 {
		return
	}
	for _, p := range l.config.Pipelines {
		if (a.Subject == "" || a.Subject == "pipeline."+p.Name) && p.Every.Seconds() >= a.Limit {
			l.errorf(at, "Wrong value", "pipeline.%s is polled every %s, so that its last poll is older than this before each poll.",
				p.Name, p.Every)
			return
		}
	}
}

// limit reads the value of the condition.
func (l *loader) limit(o *object, a *Alert) {
	switch a.Condition {
	case "errors_above":
		share, at := take(o, a.Condition, json.Number(""))
		limit, err := share.Float64()
		if share != "" && (err != nil || limit < 0 || limit >= 1) {
			l.errorf(at, "Wrong value", `%q is a share from 0 to 1: 0.5 is half of all attempts.`, a.Condition)
		}
		a.Limit = limit
	case "dead_letters_above", "calls_per_day_above":
		n, at := take(o, a.Condition, int64(0))
		if n < 0 {
			l.errorf(at, "Wrong value", "%q is not negative.", a.Condition)
		}
		a.Limit = float64(n)
	default:
		var ok bool
		a.Limit = l.duration(o, a.Condition, "", time.Second, &ok).Seconds()
	}
}

// subject reads what an alert is about.
func (l *loader) subject(o *object, a *Alert) {
	var first string
	for _, s := range subjects {
		given, there := o.attributes[s.name]
		if !there {
			continue
		}
		if first != "" {
			l.errorf(given.expr.Range(), "Conflicting attributes",
				"An alert is about one thing, and this one has %q: write another alert block.", first)
			continue
		}
		first = s.name
		if id := l.blockReference(given.expr, s.name, s.form); id != "" {
			a.Subject = s.name + "." + id
		}
		i := slices.IndexFunc(conditions, func(c condition) bool { return c.name == a.Condition })
		if i >= 0 && !slices.Contains(conditions[i].about, s.name) {
			l.errorf(given.expr.Range(), "Conflicting attributes", "%q is about a %s, not about a %s.", a.Condition,
				strings.Join(conditions[i].about, " or a "), s.name)
		}
	}
}

func conditionNames() []string {
	var names []string
	for _, c := range conditions {
		names = append(names, c.name)
	}
	return names
}

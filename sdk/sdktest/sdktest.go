// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package sdktest is the conformance kit: it starts an adapter's program as the engine does, and tests by its answers whether it keeps
// to the contract. It knows nothing of how the program is made, which may be written in any language.
//
// An adapter written in Go is tested by a few lines beside it. The test binary itself is the adapter's program, so that there is nothing
// to build:
//
//	func TestMain(m *testing.M) { sdktest.Main(m, serve) } // serve is what main calls
//
//	func TestConformance(t *testing.T) {
//		server := startServer(t) // with records of which some have the same time
//		sdktest.Run(t, sdktest.Options{
//			Config: map[string]any{"base_url": server.URL},
//			Refs:   func(c sdk.Change) []sdk.Ref { return []sdk.Ref{{Kind: "patient", ID: …}} },
//		})
//	}
//
// # The way to the EHR
//
// Between the adapter and its EHR stands the kit: each string of the configuration that is an http or https URL, and that the schema
// does not mark as sensitive, is replaced by an address of the kit with the same path, which passes on what it is asked. So the kit can
// answer in the EHR's place with what an EHR answers on a bad day, and sees what the adapter asks. Addresses of the EHR in its answers are
// replaced as well, and those of the kit in what the adapter sends.
//
// The EHR has to be one for tests. It is asked some hundreds of times, and its data must stand still meanwhile.
package sdktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk"
)

// Options say what to test with.
type Options struct {
	// Config is a configuration of a source that works, in its JSON form: text, or a value that marshals to it.
	Config any
	// Refs gives what the engine would fetch for a change, as the `fetch` blocks of a pipeline do. Without it, resources are fetched
	// by the ids of the changes of the same kind, if there are any.
	Refs func(sdk.Change) []sdk.Ref
	// FeedRefs go before Refs for the changes of single feeds, by name.
	FeedRefs map[string]func(sdk.Change) []sdk.Ref
	// Feeds are the names of the feeds to read; empty: all that the source has.
	Feeds []string
	// Start is where to begin; zero: the beginning of all records.
	Start time.Time
	// Consume allows to take from queues: what they give is read, read again and acknowledged. Without it they are read only if they
	// Peek.
	Consume bool
	// Launch starts the adapter's program; nil: this program itself, see Main.
	Launch Launch
	// Unchecked are the rules that Run lets pass although they could not be checked, because the test's server has nothing to check
	// them with. Check does not look at it.
	Unchecked []string

	skip []string // by tests of the kit, to save time
}

// State is what came of a rule.
type State string

// The states.
const (
	Passed       State = "passed"
	Failed       State = "failed"
	Unchecked    State = "not checked"    // there was nothing to check it with
	Inapplicable State = "does not apply" // to this adapter, or on this system
)

// Outcome is what came of one rule. It holds no record content and no secrets.
type Outcome struct {
	Rule    string        `json:"rule"`
	Promise string        `json:"promise"`
	State   State         `json:"state"`
	Seen    []string      `json:"seen,omitempty"`   // what was seen, of a rule that failed
	Advice  string        `json:"advice,omitempty"` // what to do about it
	Reason  string        `json:"reason,omitempty"` // why it could not be checked, or what of it could not
	Took    time.Duration `json:"took_ns"`
}

// Fact is something that was measured.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Report is what came of all rules.
type Report struct {
	Adapter string    `json:"adapter"`
	Version string    `json:"version"`
	Rules   []Outcome `json:"rules"`
	Facts   []Fact    `json:"facts"`
}

// Failed tells whether a rule failed.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Rules, func(o Outcome) bool { return o.State == Failed })
}

// Main is what TestMain calls: it serves the adapter when the program was started as one, and else runs the tests and exits.
func Main(m *testing.M, serve func()) {
	if os.Getenv(sdk.CookieVariable) == sdk.CookieValue {
		serve()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Run tests an adapter, with a subtest for each rule.
func Run(t *testing.T, o Options) {
	t.Helper()
	if o.Launch == nil {
		path, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		o.Launch = Program(path)
	}
	report := Check(t.Context(), o)
	for _, name := range o.Unchecked {
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.name == name }) {
			t.Errorf("Options.Unchecked names a rule that there is not: %s", name)
		}
	}
	for i := range report.Rules {
		outcome := &report.Rules[i]
		t.Run(outcome.Rule, func(t *testing.T) { outcome.tell(t, o) })
	}
	for _, f := range report.Facts {
		t.Logf("%s: %s", f.Name, f.Value)
	}
}

func (o *Outcome) tell(t *testing.T, options Options) {
	t.Helper()
	switch o.State {
	case Failed:
		t.Errorf("%s\n%s\n%s", o.Promise, strings.Join(o.Seen, "\n"), o.Advice)
	case Unchecked:
		if slices.Contains(options.Unchecked, o.Rule) {
			t.Skip(o.Reason)
		}
		t.Errorf("not checked: %s\nname the rule in Options.Unchecked if that can't be had", o.Reason)
	case Inapplicable:
		t.Skip(o.Reason)
	case Passed:
		if o.Reason != "" {
			t.Log(o.Reason)
		}
	}
}

// Check tests an adapter by all rules.
func Check(ctx context.Context, o Options) *Report {
	k, err := newKit(ctx, o)
	if err != nil {
		return &Report{Rules: []Outcome{{Rule: "describe", Promise: rules[0].promise, State: Failed, Seen: []string{err.Error()}}}}
	}
	defer k.close()
	return k.run()
}

// document gives a configuration as JSON.
func document(config any) ([]byte, error) {
	var doc []byte
	switch c := config.(type) {
	case []byte:
		doc = c
	case json.RawMessage:
		doc = c
	case string:
		doc = []byte(c)
	default:
		var err error
		if doc, err = json.Marshal(config); err != nil {
			return nil, fmt.Errorf("the configuration can't be made JSON: %w", err)
		}
	}
	if m, err := members(doc); err != nil || m == nil || !json.Valid(doc) {
		return nil, fmt.Errorf("the configuration is not a JSON object") //nolint:err113 // nobody asks for it
	}
	return doc, nil
}

// members are those of a JSON object, with its numbers as they are written.
func members(doc []byte) (m map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	err = d.Decode(&m)
	return m, err
}

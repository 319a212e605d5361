// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Bounds of what is done to an EHR.
const (
	callTimeout = 2 * time.Minute // of the engine, too, unless a pipeline says otherwise
	maxPages    = 300             // of a window
	maxRefs     = 12              // that are fetched
)

// sourceName is the name of the sources that the kit opens.
const sourceName = "sdktest.kit"

// kit tests one adapter.
type kit struct {
	o      Options
	ctx    context.Context
	config []byte // as it was given
	watch  *watch
	info   sdk.Info
	schema schema.Schema
	main   *lane
	turns  chan struct{} // of good calls to the EHR by rules that run side by side
	secure *authority    // of the gates, for an adapter that wants https; nil: they speak http
	direct string        // why the adapter is asked without a lane; empty: it is not

	mu        sync.Mutex
	processes []*Process
	process   *Process // that most rules share
	second    *Process // another one, which was not asked before for what it is asked
	contract  []string // what was wrong with pages, each once

	catalog  sdk.Catalog
	readings map[string]*reading // of the first window of each feed, by name
	refs     []sdk.Ref           // that exist, as far as the changes tell
	begun    time.Time
}

func newKit(ctx context.Context, o Options) (*kit, error) {
	config, err := document(o.Config)
	if err != nil {
		return nil, err
	}
	k := &kit{o: o, ctx: ctx, config: config, readings: map[string]*reading{}, turns: make(chan struct{}, 4), begun: time.Now(), watch: &watch{
		canary:  "c4n4ry-" + strings.ToLower(rand.Text()[:6]) + "-",
		secrets: map[string]string{}, content: map[string]string{}, codes: map[string]map[string]int{},
	}}
	if k.process, err = k.start(); err != nil {
		return nil, err
	}
	ctx, cancel := k.timeout()
	defer cancel()
	if k.info, k.schema, err = k.process.Client.Describe(ctx); err != nil {
		k.close()
		return nil, fmt.Errorf("the adapter does not tell about itself: %w", err)
	}
	for _, v := range sensitive(k.schema, config) {
		k.watch.hide(v, "the value of a sensitive attribute")
	}
	k.watch.common = strings.ToLower(string(config) + fmt.Sprint(k.info, k.schema))
	if k.main, err = k.lane(); err != nil {
		k.close()
		return nil, fmt.Errorf("no server can be started on this machine: %w", err)
	}
	if k.validate(config) == nil && k.validate(k.main.config) != nil {
		if err := k.beTrusted(); err != nil {
			k.close()
			return nil, err
		}
	}
	if len(k.main.gates) == 0 && k.direct == "" {
		k.direct = "the configuration names no http address, so the kit can't stand between the adapter and its EHR"
	}
	return k, nil
}

// beTrusted stands before an adapter that refuses plain http: its processes are told to trust the kit.
func (k *kit) beTrusted() (err error) {
	k.main.close()
	k.process.End()
	if k.secure, err = newAuthority(); err != nil {
		return fmt.Errorf("no certificate for the addresses of the kit can be made: %w", err)
	}
	if k.main, err = k.lane(); err != nil {
		return fmt.Errorf("no server can be started on this machine: %w", err)
	}
	if k.process, err = k.start(); err != nil {
		return err
	}
	if k.validate(k.main.config) != nil {
		k.direct = "the adapter refuses an address on this machine"
		k.main.close()
		k.main = &lane{config: k.config}
	}
	return nil
}

func (k *kit) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(k.ctx, callTimeout)
}

// lane makes another way to the EHR, whose faults are its own.
func (k *kit) lane() (*lane, error) {
	l, err := newLane(k.config, k.schema, k.secure)
	if err != nil {
		return nil, err
	}
	l.heard, l.seen = k.watch.heard, k.watch.answered
	if k.main != nil {
		l.saved.set(k.main.saved.get())
	}
	return l, nil
}

// start starts a process, which ends with the kit at the latest.
func (k *kit) start() (*Process, error) {
	p, err := k.o.Launch(k.ctx, Start{Tap: k.watch.tap, Output: k.watch, Environment: k.secure.environment()})
	if err != nil {
		return nil, err
	}
	end := sync.OnceFunc(p.End)
	p.End = end
	k.mu.Lock()
	defer k.mu.Unlock()
	k.processes = append(k.processes, p)
	return p, nil
}

// revive starts the processes that rules share anew if they have ended.
func (k *kit) revive() error {
	for _, p := range []**Process{&k.process, &k.second} {
		if *p != nil {
			ctx, cancel := context.WithTimeout(k.ctx, 10*time.Second)
			_, _, err := (*p).Client.Describe(ctx)
			cancel()
			if !errors.Is(err, sdk.ErrNoAnswer) {
				continue
			}
			(*p).End()
		}
		started, err := k.start()
		if err != nil {
			return err
		}
		k.mu.Lock()
		*p = started
		k.mu.Unlock()
	}
	return nil
}

// shared are the processes that rules share, for those that run beside others.
func (k *kit) shared() (first, second *Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process, k.second
}

func (k *kit) close() {
	k.mu.Lock()
	all := slices.Clone(k.processes)
	k.mu.Unlock()
	var ending sync.WaitGroup
	for _, p := range all {
		ending.Go(p.End)
	}
	ending.Wait()
	if k.main != nil {
		k.main.close()
	}
	k.secure.close()
}

func (k *kit) validate(config []byte) error {
	ctx, cancel := k.timeout()
	defer cancel()
	return k.process.Client.Validate(ctx, config)
}

// source is an open source.
type source struct {
	*sdk.Opened
	k    *kit
	lane *lane
}

// open opens a source. What it saves is kept for the next that is opened on the same lane, as by the engine.
func (k *kit) open(p *Process, l *lane) (*source, error) {
	ctx, cancel := k.timeout()
	defer cancel()
	o, err := p.Client.Open(ctx, sdk.Opening{Source: sourceName, Config: l.config, State: l.saved.get(), Save: l.saved.save})
	if err != nil {
		return nil, err
	}
	return &source{o, k, l}, nil
}

// saved is what sources on a lane saved last: a pause that a fault asked for is not to be kept to on another.
type saved struct {
	mu    sync.Mutex
	state []byte
}

func (s *saved) get() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.state)
}

func (s *saved) set(state []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = bytes.Clone(state)
}

func (s *saved) save(_ context.Context, state []byte) error {
	s.set(state)
	return nil
}

func (s *source) close() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.k.ctx), 10*time.Second)
	defer cancel()
	return s.Close(ctx)
}

// poll reads a page, and looks whether it keeps to the contract.
func (s *source) poll(q sdk.Query) (sdk.Page, error) {
	ctx, cancel := s.k.timeout()
	defer cancel()
	page, err := s.Poll(ctx, q)
	if err == nil {
		s.k.inspect(s.feed(q.Feed), page)
	}
	return page, err
}

func (s *source) feed(name string) sdk.Feed {
	for _, f := range s.Catalog().Feeds {
		if f.Name == name {
			return f
		}
	}
	return sdk.Feed{Name: name}
}

// fetch fetches refs, and takes note of what they hold.
func (s *source) fetch(refs []sdk.Ref) ([]sdk.Result, error) {
	ctx, cancel := s.k.timeout()
	defer cancel()
	results, err := s.Fetch(ctx, refs)
	for _, r := range results {
		s.k.learn(r.Data)
	}
	return results, err
}

func (k *kit) learn(data json.RawMessage) {
	if data == nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) == nil {
		k.watch.record(doc)
	}
}

// feeds are those to read of some classes.
func (k *kit) feeds(class ...sdk.Class) (feeds []sdk.Feed) {
	for _, f := range k.catalog.Feeds {
		wanted := len(k.o.Feeds) == 0 || slices.Contains(k.o.Feeds, f.Name)
		if wanted && slices.Contains(class, f.Class) {
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// ordinary are the feeds but queues.
func (k *kit) ordinary() []sdk.Feed { return k.feeds(sdk.Timestamp, sdk.Sequence, sdk.Scan) }

// harmless are the feeds that can be read and nothing is taken away.
func (k *kit) harmless() []sdk.Feed {
	return append(k.ordinary(), slices.DeleteFunc(k.feeds(sdk.Queue), func(f sdk.Feed) bool { return !f.Peeks })...)
}

// query is for the first window of a feed.
func (k *kit) query(f sdk.Feed) sdk.Query {
	return sdk.Query{Feed: f.Name, Start: sdk.Start{At: k.o.Start}, Peek: f.Peeks}
}

// run tests all rules.
func (k *kit) run() *Report {
	report := &Report{Adapter: k.info.Name, Version: k.info.Version}
	outcomes := make([]*outcome, len(rules))
	var faults sync.WaitGroup
	opened := true
	one := func(i int) {
		r, o := rules[i], outcomes[i]
		defer func(begun time.Time) { o.took = time.Since(begun) }(time.Now())
		switch {
		case slices.Contains(k.o.skip, r.name):
			o.unchecked("left out")
			return
		case k.ctx.Err() != nil:
			o.unchecked("the test was ended")
			return
		case r.needs == nothing:
		case !opened:
			o.unchecked("the source could not be opened or read")
			return
		case r.needs == way && k.direct != "":
			o.unchecked("%s", k.direct)
			return
		}
		r.check(k, o)
	}
	for i, r := range rules {
		outcomes[i] = &outcome{}
		if r.needs == way {
			faults.Go(func() { one(i) })
			continue
		}
		if r.last {
			faults.Wait()
		}
		if err := k.revive(); err != nil && k.ctx.Err() == nil {
			outcomes[i].fail("the adapter can't be started again: %v", err)
			opened = false
			continue
		}
		one(i)
		if r.name == "open" {
			opened = !outcomes[i].failed()
		}
	}
	faults.Wait()
	for i, r := range rules {
		if moved := k.main.moved(); moved > 0 && r.still && outcomes[i].failed() {
			outcomes[i].fail("%d requests, made again, had another answer from the EHR itself: its data have to stand still for this", moved)
		}
		report.Rules = append(report.Rules, outcomes[i].told(r))
	}
	report.Facts = k.facts()
	return report
}

func (k *kit) facts() []Fact {
	facts := []Fact{{"took", time.Since(k.begun).Round(10 * time.Millisecond).String()}}
	k.watch.mu.Lock()
	facts = append(facts, Fact{"calls to the adapter", fmt.Sprint(k.watch.calls)})
	if k.watch.dropped {
		facts = append(facts, Fact{"output", fmt.Sprintf("more than %d MiB, the rest was not looked at", maxOutput>>20)})
	}
	k.watch.mu.Unlock()
	if k.direct == "" {
		facts = append(facts, Fact{"calls to the EHR, without those of faults", fmt.Sprint(k.main.asked.Load())})
	}
	for _, f := range k.catalog.Feeds {
		if r := k.readings[f.Name]; r != nil {
			facts = append(facts, Fact{"feed " + f.Name, fmt.Sprintf("%s, %d changes on %d pages", f.Class, len(r.changes), len(r.pages))})
		}
	}
	return append(facts, Fact{"refs to fetch", fmt.Sprint(len(k.refs))})
}

// outcome collects what comes of a rule.
type outcome struct {
	mu      sync.Mutex
	seen    []string
	missing []string // why something was not checked
	done    bool     // something was checked
	never   string   // why it does not apply
	took    time.Duration
}

func (o *outcome) fail(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if len(o.seen) < 10 && !slices.Contains(o.seen, text) {
		o.seen = append(o.seen, text)
	}
}

func (o *outcome) failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen) > 0
}

// unchecked says what could not be checked, and why.
func (o *outcome) unchecked(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(o.missing, text) {
		o.missing = append(o.missing, text)
	}
}

// checked says that something was.
func (o *outcome) checked() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
}

func (o *outcome) inapplicable(format string, args ...any) { o.never = fmt.Sprintf(format, args...) }

func (o *outcome) told(r rule) Outcome {
	out := Outcome{Rule: r.name, Promise: r.promise, State: Passed, Reason: strings.Join(o.missing, "; "), Took: o.took}
	switch {
	case len(o.seen) > 0:
		out.State, out.Seen, out.Advice = Failed, o.seen, r.advice
	case o.done:
	case o.never != "":
		out.State, out.Reason = Inapplicable, o.never
	default:
		out.State = Unchecked
	}
	return out
}

// sensitive collects the texts of the attributes that a schema marks.
func sensitive(s schema.Schema, config []byte) (found []string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(config, &members) != nil {
		return nil
	}
	for _, a := range s.Attributes {
		if v, ok := members[a.Name]; ok && a.Sensitive {
			replaceStrings(v, func(text string) string {
				found = append(found, text)
				return text
			})
		}
	}
	for _, b := range s.Blocks {
		if v, ok := members[b.Name]; ok {
			bodies, _ := blocks(v)
			for _, body := range bodies {
				found = append(found, sensitive(b.Body, body)...)
			}
		}
	}
	return found
}

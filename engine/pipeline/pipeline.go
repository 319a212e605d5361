// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package pipeline is the loop that polls a feed, drops what was seen, fetches details, maps and commits. What was committed
// is the delivery loop's; the two meet only in the store.
//
// One batch walks at a time through the steps, as a slice; only the fetches of the next batch run beside it.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// Source is what a pipeline needs of an opened source.
type Source interface {
	Feed(ctx context.Context, name string) (sdk.Feed, error)
	Poll(context.Context, sdk.Query) (sdk.Page, error)
	Fetch(context.Context, []sdk.Ref) ([]sdk.Result, error)
	Ack(ctx context.Context, feed string, token []byte) error
}

// Expr is an expression over one record. A value that is null, missing or empty is not present. The error names the place of the
// expression and no value.
type Expr interface {
	Eval(*record.Record) (value string, present bool, err error)
}

// Condition is an expression over one record that holds or not. As of Expr, the error names the place and no value.
type Condition interface {
	EvalBool(*record.Record) (bool, error)
}

// Limiter spaces the overdue polls of all pipelines.
type Limiter interface {
	// Turn gives when one more may be made. It is false when that would not be before an instant; then none is taken up.
	Turn(before time.Time) (time.Time, bool)
}

// Start is where a pipeline begins that has no watermark yet: at the instant of its first start, or at At; the zero value is
// the beginning of all records.
type Start struct {
	Now bool
	At  time.Time
}

// List is an expression that gives a list over one record; what is empty in it stands for nothing.
type List interface {
	EvalList(*record.Record) ([]string, error)
}

// Fetch asks for the details of each change: the resource's record whose id the expression gives.
type Fetch struct {
	Name      string // key in Record.Fetched
	Resource  string
	ID        Expr      // of one record of the resource; nil with ForEach
	ForEach   List      // of several, which come as an array in this order; nil with ID
	When      Condition // nil: always; what is not fetched is null
	Optional  bool      // what can't be fetched, however often it is asked for, is null
	OnMissing OnMissing
	Cache     time.Duration // how old what an earlier window fetched may be; zero: each window asks anew
	Needs     []string      // names of the fetches that the expressions use
}

// OnMissing says what becomes of a change for which the server does not have what is asked for: 404, 410. A deletion is told
// all the same.
type OnMissing string

// What becomes of a change. The zero value is DeadLetterMissing.
const (
	DeadLetterMissing OnMissing = "dead_letter"
	SkipMissing       OnMissing = "skip"    // the change is filtered out
	DeliverMissing    OnMissing = "deliver" // with null in its place
)

// Deliver makes one notification of each change for one destination.
type Deliver struct {
	Name        string
	Destination string
	Filter      Condition // nil: all are delivered; those that it does not hold for are neither ordered nor mapped
	OrderBy     Expr      // nil: the record's own id
	// Map gives the body, or nil when the mapping filters the change out. The error is a *MapError when the mapping is to
	// blame, any other means that mapping could not be tried.
	Map func(context.Context, *record.Record, MapContext) ([]byte, error)
	// KeepRecord keeps the record with the notification, to be mapped again if the destination rejects it.
	KeepRecord bool
}

// MapContext is what a mapping may know beside the record.
type MapContext struct {
	Pipeline string
	Source   string
	Deliver  string
	Now      time.Time
	Attempt  int            // 1 at first, one more for each reading of the page in which the record had to wait
	Previous *record.Record // as last committed; nil: unknown, or not kept
}

// MapError says why a mapping made nothing of a record. Text may be logged, Detail may hold what the record held. A mapping
// that only took too long is tried again before the record becomes a dead letter.
type MapError struct {
	Text, Detail string
	TimedOut     bool
	Abandoned    bool // the call has not ended and keeps a processor busy
}

func (e *MapError) Error() string { return e.Text }

// Config is one pipeline with everything it works on.
type Config struct {
	Name       string
	SourceName string // as in HCL, "rest.clinic"
	Feed       string
	Rival      string // the pipeline that polls the same feed and goes first where only one may, as of a queue; empty: there is none
	Every      time.Duration
	Overlap    time.Duration
	Timeout    time.Duration // of each call to the adapter
	Start      Start
	Confirm    string  // the resource that tells whether what a scan does not list is deleted; empty: no delete is inferred
	MaxDeleted float64 // share of the records that may be deleted after one scan
	Expand     *Expand // nil: what the feed lists are the changes
	// KeepPrevious keeps each record as it was committed, for MapContext.Previous of the next generation.
	KeepPrevious bool
	Fetches      []Fetch
	Delivers     []Deliver
	// Release ends what the mappings hold between calls, such as a process. They may be called again after it. May be nil.
	Release func()

	Source   Source
	Claim    func(ctx context.Context, pipeline string) (store.Feed, error)
	Limits   store.Limits
	Names    record.Names // of records in logs
	Parallel int          // mappings at a time
	Hurry    Limiter
	Large    chan struct{} // of all pipelines: takes as many as may work on large answers at a time; nil: all
	Logger   *slog.Logger
	Meter    Meter        // nil: nothing is counted
	Tracer   trace.Tracer // nil: nothing is traced
}

const (
	batchRecords = 256             // records that walk together
	fetchCache   = 64 << 20        // bytes of fetched records remembered within one window
	keptCache    = 16 << 20        // bytes of those remembered across windows
	maxList      = 1000            // ids that one fetch asks for of one record
	maxPasses    = 10              // readings of one window of a feed whose pages drift
	maxRefusals  = 5               // polls in a row that fail at a cursor before the window is read again
	maxAttempts  = 5               // of a record that alone can't be fetched, before it becomes a dead letter
	firstBackOff = time.Second     // after the first failure; doubled after each further one
	lastBackOff  = 5 * time.Minute // the longest
	longestRest  = 24 * time.Hour  // that a server is granted at a time; after it it is asked again
	commitLimit  = time.Minute     // for a commit that began before the stop
)

// Pipeline is one running pipeline.
type Pipeline struct {
	Config
	log      *slog.Logger
	levels   [][]int // indices of Fetches
	feed     store.Feed
	recover  bool                 // something may have been read that was not committed
	rest     time.Time            // the server wants no poll before
	turn     *turn                // to work on large answers
	worked   []bool               // by step: succeeded for some record since the start
	failing  []int                // by step: changes that failed in it since one passed it
	witness  []sdk.Ref            // by fetch: what could be fetched last
	attempts map[sdk.Ref]int      // of records that could not be read or fetched while others could
	refusals int                  // polls in a row that failed at a cursor
	remarked map[string]time.Time // by code: when the adapter's remark was logged
	kept     *cache               // of fetches that may use what an earlier window fetched
	watched  *watched
}

// New makes a pipeline. Fetches that need each other in a circle are an error.
func New(c Config) (*Pipeline, error) {
	if c.Every <= 0 || c.Timeout <= 0 || c.Parallel <= 0 || len(c.Delivers) == 0 {
		return nil, fmt.Errorf("pipeline %s: every, timeout and parallel have to be positive, and a deliver block is needed", c.Name)
	}
	if c.Meter == nil {
		c.Meter = Unmetered{}
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if c.Release == nil {
		c.Release = func() {}
	}
	levels, err := fetchLevels(c.Fetches)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", c.Name, err)
	}
	p := &Pipeline{
		Config: c, levels: levels, log: c.Logger.With("pipeline", c.Name), attempts: map[sdk.Ref]int{}, kept: newCache(keptCache),
		remarked: map[string]time.Time{}, turn: new(turn), watched: &watched{asked: make(chan request)},
	}
	p.is(Stopped, nil)
	steps := p.mapStep(len(c.Delivers))
	p.worked, p.failing, p.witness = make([]bool, steps), make([]int, steps), make([]sdk.Ref, p.fetching())
	return p, nil
}

// Run works until ctx is done. It mends itself: whatever fails is tried again with back-off, a lost ownership is claimed
// again. What was under way at the end and is not committed will be read again.
//
// Invariant 8: nothing that happens in here, a panic included, reaches another pipeline.
func (p *Pipeline) Run(ctx context.Context) {
	defer p.runs()()
	defer p.Release()
	failures := 0
	for ctx.Err() == nil {
		p.is(Claiming, nil)
		err := contain(func() error { return p.own(ctx, &failures) })
		if ctx.Err() != nil {
			return
		}
		failures++
		wait := backOff(failures)
		p.is(Claiming, func(st *Status) { st.Why, st.Failures = text(err), failures })
		p.log.Warn("the state of the pipeline is claimed again", "error", text(err), "retry_in", wait.Round(time.Millisecond))
		p.refuse(ctx, time.After(wait), nil, err)
	}
}

// own claims the pipeline and polls until the ownership is gone or ctx is done.
func (p *Pipeline) own(ctx context.Context, failures *int) error {
	feed, err := p.Claim(ctx, p.Name)
	if err != nil {
		return err
	}
	defer func() {
		// The owner goes with the loop; a handle that can't be released any more is fenced by the next claim.
		_ = feed.Release(context.WithoutCancel(ctx))
	}()
	p.feed, p.recover = feed, true

	due, state := p.firstPoll(), Waiting
	for {
		p.is(state, func(st *Status) { st.Next, st.Polled = due, feed.Position().Polled })
		asked, owned := p.next(ctx, due)
		if !owned {
			return store.ErrFenced
		}
		if ctx.Err() != nil {
			asked.tell(polled{err: failf("the pipeline is stopping")})
			return ctx.Err()
		}
		before := p.feed.Position().Commit
		p.is(Polling, nil)
		var got stats
		err := contain(func() (err error) {
			if asked.parent != nil {
				got, err = p.expandAgain(ctx, *asked.parent)
			} else {
				got, err = p.window(ctx)
			}
			return err
		})
		asked.tell(polled{got.counts(), showable(err)})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrUnknown), errors.Is(err, store.ErrStale):
			return err
		case asked.parent != nil: // what is due stays due
		case err == nil:
			if *failures > 0 {
				p.log.Info("the pipeline works again", "after_failures", *failures)
			}
			*failures, state = 0, Waiting
			p.is(state, func(st *Status) { st.Why, st.Failures = "", 0 })
			due = p.nextTick(time.Now())
			if due.Before(p.rest) {
				due = p.rest
			}
		case sdk.CodeOf(err) == sdk.CodeWatermarkExpired:
			p.log.Error("there is a gap in the feed, the pipeline pauses: the server no longer has all changes since the last poll",
				"error", sdk.Safe(err), "to_resume", "rounds state set "+p.Name+" --start now|beginning|INSTANT")
			p.is(Gap, func(st *Status) { st.Why, st.Polled = text(err), feed.Position().Polled })
			p.refuse(ctx, nil, feed.Lost(), err) // a person says where it goes on, for which it is stopped
			return err
		default:
			if sdk.CodeOf(err) == sdk.CodeRateLimited && p.feed.Position().Commit > before {
				*failures = 0 // the limit let some through, and will again
			}
			*failures++
			wait := backOff(*failures)
			var e *sdk.Error
			if errors.As(err, &e) {
				wait = max(wait, min(e.After, longestRest))
			}
			wait = max(wait, time.Until(p.rest))
			p.log.Warn("the poll failed and will be repeated", "error", text(err), "failures", *failures,
				"retry_in", wait.Round(time.Millisecond))
			state = Failing
			p.is(state, func(st *Status) { st.Why, st.Failures = text(err), *failures })
			due = time.Now().Add(wait)
		}
	}
}

// safe is the error of an adapter as it may be logged: what it was wrapped in is withheld.
func safe(err error) error { return sdk.Safe(err) }

// text is what may be logged of an error of this loop: of adapters, of a whole page, of the store.
func text(err error) string {
	var e *sdk.Error
	var step *stepError
	if errors.As(err, &e) || errors.As(err, &step) {
		return err.Error()
	}
	return store.Text(err)
}

// stepError is an error of a whole page, made here.
type stepError struct{ text string }

func (e *stepError) Error() string { return e.text }

func failf(format string, args ...any) error { return &stepError{fmt.Sprintf(format, args...)} }

// until waits for an instant; false when the ownership was lost.
func (p *Pipeline) until(ctx context.Context, due time.Time) bool {
	over, stop := at(due)
	defer stop()
	select {
	case <-ctx.Done():
	case <-over:
	case <-p.feed.Lost():
		return false
	}
	return true
}

// past is what at gives for an instant that is over.
var past = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// at gives a channel from which something can be received from an instant on. Most instants are over when they are asked for; they need no
// timer (which, over before it is waited for, makes the race detector of Go 1.26 crash now and then in a bubble of synctest).
func at(due time.Time) (over <-chan time.Time, stop func() bool) {
	wait := time.Until(due)
	if wait <= 0 {
		return past, func() bool { return true }
	}
	t := time.NewTimer(wait)
	return t.C, t.Stop
}

// next waits for the next poll: that of an instant, or what is asked for before. False when the ownership was lost.
func (p *Pipeline) next(ctx context.Context, due time.Time) (asked request, owned bool) {
	over, stop := at(due)
	defer stop()
	select {
	case <-ctx.Done():
	case <-over:
	case asked = <-p.watched.asked:
	case <-p.feed.Lost():
		return asked, false
	}
	return asked, true
}

// refuse waits for whatever comes first. What is asked for meanwhile is not done, for the cause.
func (p *Pipeline) refuse(ctx context.Context, over <-chan time.Time, lost <-chan struct{}, cause error) {
	for {
		select {
		case asked := <-p.watched.asked:
			asked.tell(polled{err: showable(cause)})
		case <-over:
			return
		case <-ctx.Done():
			return
		case <-lost:
			return
		}
	}
}

// backOff grows from firstBackOff to lastBackOff, with jitter over its upper half so that what failed together does not come
// back together.
func backOff(failures int) time.Duration {
	d := lastBackOff
	if shift := failures - 1; shift < 16 {
		d = min(d, firstBackOff<<max(shift, 0))
	}
	return d/2 + rand.N(d/2+1)
}

// contain turns a panic into an error. Its value may quote a record and is withheld; the stack holds no values.
func contain(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = failf("internal error (%T), please report it with this stack:\n%s", v, debug.Stack())
		}
	}()
	return f()
}

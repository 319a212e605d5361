// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
)

// Plan says what the pipelines of a configuration would do if they polled now.
type Plan struct {
	StateDir    string         `json:"state"`
	StateExists bool           `json:"state_exists"` // else nothing counts as seen
	Pipelines   []PipelinePlan `json:"pipelines"`
	Sources     []SourcePlan   `json:"sources"`
}

// PipelinePlan is the plan of one pipeline.
type PipelinePlan struct {
	Name     string `json:"name"`
	Source   string `json:"source"`
	Feed     string `json:"feed"`
	Every    string `json:"every"`
	Complete bool   `json:"complete"`        // the window was read to its end, and all of it would be worked off
	Error    string `json:"error,omitempty"` // why not
	pipeline.Counts
	Calls         Calls                 `json:"calls"`
	Forecast      Forecast              `json:"forecast"`
	Remarks       []string              `json:"remarks,omitempty"` // the adapter's
	Notifications []PlannedNotification `json:"notifications"`     // the first draftKept
	DeadLetters   []PlannedDeadLetter   `json:"dead_letters"`      // the first draftKept
}

// Calls are those that a plan made to an EHR.
type Calls struct {
	Poll  int `json:"poll"`  // as the adapter counts them; a poll that failed is one
	Fetch int `json:"fetch"` // at most: the adapter was asked for so many records, and may ask for several in one call
}

// Sum is how many calls there were at most.
func (c Calls) Sum() int { return c.Poll + c.Fetch }

// Forecast is how many calls there are at most if each poll needs as many as this one, rounded up.
type Forecast struct {
	PerHour int `json:"per_hour"`
	PerDay  int `json:"per_day"`
}

// SourcePlan is the sum of the pipelines that use one source.
type SourcePlan struct {
	ID       string   `json:"id"`
	Calls    Calls    `json:"calls"`
	Forecast Forecast `json:"forecast"`
	// Allowed is what the source's limits block allows; 0: nothing is known.
	Allowed    Forecast `json:"allowed,omitzero"`
	OverLimit  bool     `json:"over_limit"`  // the forecast is more than is allowed
	SavedState bool     `json:"saved_state"` // the adapter saved something, which a plan does not keep
}

// PlannedNotification is a notification that would be delivered. What may tell of a patient is empty in a masked one, and of
// Body there is the form.
type PlannedNotification struct {
	Deliver     string          `json:"deliver"`
	Destination string          `json:"destination"`
	Kind        string          `json:"kind"`
	Generation  uint64          `json:"generation"`       // 1: the record was never seen
	Record      string          `json:"record,omitempty"` // its name in logs, when there is a state
	ID          string          `json:"id,omitempty"`
	RecordID    string          `json:"record_id,omitempty"`
	Key         string          `json:"key,omitempty"` // ordering key
	Body        json.RawMessage `json:"body"`
}

// PlannedDeadLetter is what would become a dead letter. RecordID and Detail are empty in a masked one.
type PlannedDeadLetter struct {
	Deliver  string `json:"deliver,omitempty"` // empty: before mapping
	Stage    string `json:"stage"`
	Code     string `json:"code"`
	Text     string `json:"text"`
	Kind     string `json:"kind"`
	Record   string `json:"record,omitempty"`
	RecordID string `json:"record_id,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Failed says that some pipeline could not be planned to its end.
func (p *Plan) Failed() bool {
	return slices.ContainsFunc(p.Pipelines, func(p PipelinePlan) bool { return !p.Complete })
}

// PlanOptions is what a plan needs beside a configuration.
type PlanOptions struct {
	Pipelines []string // names; none: all
	Show      bool     // content of records, else the form of it
}

// Plan polls each pipeline once, by the loop that Run uses, and gives what would be committed. Nothing is: what is stored is
// only read, what adapters save is kept in memory, no destination is opened and nothing is acknowledged to a source. An error
// is one of all pipelines; that of one is in its PipelinePlan.
func (e *Engine) Plan(ctx context.Context, cfg *config.Config, o PlanOptions) (plan *Plan, err error) {
	chosen := *cfg
	if chosen.Pipelines, err = choose(cfg, o.Pipelines); err != nil {
		return nil, err
	}
	state, err := e.openPlanned(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	e.saved.set(state)
	sources := e.open(&chosen)
	defer closeAll(ctx, sources)
	e.host.EndUnused()

	plan = &Plan{StateDir: e.o.StateDir, StateExists: state.stored != nil, Pipelines: []PipelinePlan{}, Sources: []SourcePlan{}}
	for _, p := range chosen.Pipelines {
		one, err := e.planOne(ctx, &chosen, p, o.Show, state, sources[p.Source])
		if err != nil {
			return nil, err
		}
		plan.Pipelines = append(plan.Pipelines, one)
	}
	closeAll(ctx, sources) // an adapter may save something when it is closed
	for _, s := range chosen.Sources {
		if used := sumOf(s, plan.Pipelines); used != nil {
			used.SavedState = state.hasSaved(s.ID())
			plan.Sources = append(plan.Sources, *used)
		}
	}
	return plan, nil
}

// choose gives the pipelines of these names, in the order of the configuration; all if there are no names.
func choose(cfg *config.Config, names []string) ([]config.Pipeline, error) {
	if len(names) == 0 {
		return cfg.Pipelines, nil
	}
	var chosen []config.Pipeline
	for _, p := range cfg.Pipelines {
		if slices.Contains(names, p.Name) {
			chosen = append(chosen, p)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(chosen, func(p config.Pipeline) bool { return p.Name == name }) {
			return nil, noPipeline(cfg, name)
		}
	}
	return chosen, nil
}

func (e *Engine) planOne(
	ctx context.Context, cfg *config.Config, p config.Pipeline, show bool, state *planned, source pipeline.Source,
) (PipelinePlan, error) {
	probe := &probe{Source: source}
	c, err := e.builder(cfg).pipeline(p)
	if err != nil {
		return PipelinePlan{}, err
	}
	c.Source, c.Claim, c.Limits, c.Names = probe, state.Claim, state.Limits(), record.Names{Secret: state.Secret()}
	made, err := pipeline.New(c)
	if err != nil {
		return PipelinePlan{}, err
	}
	out := PipelinePlan{
		Name: p.Name, Source: p.Source, Feed: p.Feed, Every: p.Every.String(),
		Notifications: []PlannedNotification{}, DeadLetters: []PlannedDeadLetter{},
	}
	out.Counts, err = made.Once(ctx)
	switch {
	case ctx.Err() != nil:
		return out, errors.New("stopped before the plan was done")
	case err == nil:
		out.Complete = true
	case sdk.CodeOf(err) == sdk.CodeWatermarkExpired:
		out.Error = fmt.Sprintf("there is a gap in the feed, the pipeline would pause: %v; to resume: rounds state set %s --start now|beginning|INSTANT",
			err, p.Name)
	default:
		out.Error = err.Error()
	}
	out.Calls, out.Remarks = probe.calls, probe.remarks
	out.Forecast = forecast(out.Calls.Sum(), p.Every)
	d := state.drafts[p.Name]
	if d == nil { // it was not claimed
		return out, nil
	}
	for _, e := range d.entries {
		n := PlannedNotification{
			Deliver: e.Deliver, Destination: e.Destination, Kind: e.Ref.Kind, Generation: e.Generation, Record: state.name(p.Name, e.Ref),
		}
		if show {
			n.ID, n.RecordID, n.Key, n.Body = e.ID, e.Ref.ID, e.Key, e.Body
		} else {
			n.Body = mask(e.Body)
		}
		out.Notifications = append(out.Notifications, n)
	}
	for _, l := range d.dead {
		n := PlannedDeadLetter{
			Deliver: l.Deliver, Stage: string(l.Cause.Stage), Code: l.Cause.Code, Text: l.Cause.Text, Kind: l.Ref.Kind, Record: state.name(p.Name, l.Ref),
		}
		if show {
			n.RecordID, n.Detail = l.Ref.ID, l.Cause.Detail
		}
		out.DeadLetters = append(out.DeadLetters, n)
	}
	return out, nil
}

func forecast(calls int, every time.Duration) Forecast {
	return Forecast{PerHour: perSpan(calls, every, time.Hour), PerDay: perSpan(calls, every, 24*time.Hour)}
}

func perSpan(calls int, every, span time.Duration) int {
	return int(math.Ceil(float64(calls) * span.Seconds() / every.Seconds()))
}

// sumOf sums up what the pipelines of a source do; nil if there are none.
func sumOf(s config.Source, pipelines []PipelinePlan) *SourcePlan {
	var out *SourcePlan
	for _, p := range pipelines {
		if p.Source != s.ID() {
			continue
		}
		if out == nil {
			out = &SourcePlan{ID: s.ID(), Allowed: allowed(s)}
		}
		out.Calls.Poll += p.Calls.Poll
		out.Calls.Fetch += p.Calls.Fetch
		out.Forecast.PerHour += p.Forecast.PerHour
		out.Forecast.PerDay += p.Forecast.PerDay
	}
	if out != nil {
		a := out.Allowed
		out.OverLimit = a.PerHour > 0 && out.Forecast.PerHour > a.PerHour || a.PerDay > 0 && out.Forecast.PerDay > a.PerDay
	}
	return out
}

// allowed is what a source's block allows: what adapters may know of limits is their own business, but for a block limits with the
// attributes that the rest adapter has in it.
func allowed(s config.Source) (a Forecast) {
	var block struct {
		Limits struct {
			PerSecond float64 `json:"per_second"`
			PerMinute int     `json:"per_minute"`
			PerHour   int     `json:"per_hour"`
			PerDay    int     `json:"per_day"`
		} `json:"limits"`
	}
	if json.Unmarshal(s.Config, &block) != nil {
		return a // an adapter of another kind
	}
	l := block.Limits
	for _, n := range []int{int(l.PerSecond * 3600), l.PerMinute * 60, l.PerHour} {
		if n > 0 && (a.PerHour == 0 || n < a.PerHour) {
			a.PerHour = n
		}
	}
	if a.PerDay = a.PerHour * 24; l.PerDay > 0 && (a.PerDay == 0 || l.PerDay < a.PerDay) {
		a.PerDay = l.PerDay
	}
	return a
}

// probe is a source that is only read and counts what it is asked.
type probe struct {
	pipeline.Source
	mu      sync.Mutex
	calls   Calls
	remarks []string
}

// Feed implements pipeline.Source. A queue that can only be emptied is refused before it is polled.
func (p *probe) Feed(ctx context.Context, name string) (sdk.Feed, error) {
	feed, err := p.Source.Feed(ctx, name)
	if err == nil && feed.Class == sdk.Queue && !feed.Peeks {
		return feed, sdk.Permanent("feed %s is a queue: reading it takes its changes away, so it can't be planned; rounds run reads it", name)
	}
	return feed, err
}

// Poll implements pipeline.Source. Whatever is read stays where it is.
func (p *probe) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	q.Peek = true
	page, err := p.Source.Poll(ctx, q)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls.Poll += max(page.Calls, 1)
	for _, n := range page.Notes {
		if remark := n.Code + ": " + n.Text; !slices.Contains(p.remarks, remark) && len(p.remarks) < 100 {
			p.remarks = append(p.remarks, remark)
		}
	}
	return page, err
}

// Fetch implements pipeline.Source.
func (p *probe) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	p.mu.Lock()
	p.calls.Fetch += len(refs)
	p.mu.Unlock()
	return p.Source.Fetch(ctx, refs)
}

// Ack implements pipeline.Source: what would be taken over is not.
func (p *probe) Ack(context.Context, string, []byte) error { return nil }

var _ pipeline.Source = (*probe)(nil)

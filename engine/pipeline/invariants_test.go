// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/store"
	"github.com/rounds-engine/rounds/sdk"
)

// leaks are errors as they come from Go's own packages and from adapters: they quote what they could not handle.
func leaks() []error {
	_, parse := time.Parse(time.RFC3339, canary)
	var n int
	return []error{
		&url.Error{Op: "Get", URL: "https://ehr/patient/" + canary, Err: errors.New("connection refused")},
		parse,
		json.Unmarshal([]byte(`"`+canary+`"`), &n),
		errors.New(canary),
		fmt.Errorf("patient %s: %w", canary, sdk.Retryable("GET /patient/{id}: 503")),
		fmt.Errorf("patient %s: %w", canary, sdk.NotFound("GET /patient/{id}: 404")),
		fmt.Errorf("patient %s: %w", canary, sdk.RateLimited(time.Second, "GET /patient/{id}: 429")),
		fmt.Errorf("cursor %s: %w", canary, sdk.CursorExpired("GET /appointments: 410")),
		fmt.Errorf("mark %s: %w", canary, sdk.WatermarkExpired("GET /appointments: 410")),
		sdk.Retryable("GET /patient/{id}: 503").Because(errors.New(canary)),
	}
}

// TestInvariant6: whatever fails, in whatever way, no log line holds content or ids (the rig of every test looks), and a
// record has the name that rounds resolves.
func TestInvariant6NoContentInTheLog(t *testing.T) {
	places := map[string]func(r *rig, err error){
		"poll": func(r *rig, err error) {
			r.ehr.onPoll = func(int, sdk.Query) (sdk.Page, error) { return sdk.Page{}, err }
		},
		"an item": func(r *rig, err error) {
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := r.ehr.page(q)
				p.Changes[0].Err = err
				return p, nil
			}
		},
		"fetch": func(r *rig, err error) {
			r.ehr.onFetch = func(context.Context, []sdk.Ref) ([]sdk.Result, error) { return nil, err }
		},
		"every result": func(r *rig, err error) { r.ehr.onRef = func(sdk.Ref) error { return err } },
		"one result": func(r *rig, err error) {
			r.ehr.onRef = func(ref sdk.Ref) error {
				if ref.ID == canary+"p1" {
					return err
				}
				return nil
			}
		},
		"ack": func(r *rig, err error) {
			r.ehr.onAck = func(string) error { return err }
			r.ehr.onPoll = func(_ int, q sdk.Query) (sdk.Page, error) {
				p := r.ehr.page(q)
				p.Ack = []byte(canary)
				return p, nil
			}
		},
		"a mapping": func(r *rig, err error) {
			r.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { return nil, err }
		},
		"one mapping": func(r *rig, err error) {
			r.config.Delivers[0].Map = failFor("1")
		},
		"a panic": func(r *rig, err error) {
			r.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { panic(err) }
		},
	}
	for place, breaks := range places {
		for i, err := range leaks() {
			t.Run(fmt.Sprintf("%s, %T %d", place, err, i), func(t *testing.T) {
				simulate(t, func(r *rig) {
					r.config.Fetches = []pipeline.Fetch{patients()}
					r.ehr.fill(8, "a")
					breaks(r, err)
					r.run(3 * time.Minute)
					log := r.logs.String()
					if strings.Count(log, "\n") < 2 {
						t.Error("nothing was logged: the test shows nothing")
					}
					for _, d := range r.dead() {
						if strings.Contains(d.Cause.Text, canary) {
							t.Errorf("the text of a cause holds content: %s", d.Cause.Text)
						}
					}
					if place == "one mapping" && !strings.Contains(log, "record="+record.Name(r.store.Secret(), "visits",
						sdk.Ref{Kind: "appointment", ID: canary + "1"})) {
						t.Error("the log does not name the record that became a dead letter")
					}
				})
			})
		}
	}
}

// TestInvariant8: a pipeline in which everything panics does not stop another on the same state.
func TestInvariant8ABrokenPipelineStopsNoOther(t *testing.T) {
	for _, place := range []string{"feed", "poll", "fetch", "ack", "expression", "mapping", "claim", "seen", "commit"} {
		t.Run(place, func(t *testing.T) {
			simulate(t, func(good *rig) {
				bad := newRig(t, tiny)
				bad.use(good.store)
				bad.config.Name = "broken"
				bad.config.Fetches = []pipeline.Fetch{patients()}
				bad.ehr.fill(3, "a")
				good.ehr.fill(3, "a")
				boom := func() { panic(canary) }
				bad.config.Source = &panicking{ehr: bad.ehr, call: place}
				switch place {
				case "expression":
					bad.config.Fetches[0].ID = expr(func(*record.Record) (string, bool, error) { panic(canary) })
				case "mapping":
					bad.config.Delivers[0].Map = func(context.Context, *record.Record, pipeline.MapContext) ([]byte, error) { panic(canary) }
				case "claim":
					bad.config.Claim = func(context.Context, string) (store.Feed, error) { panic(canary) }
				case "commit":
					bad.before = func(int, store.Batch) error { boom(); return nil }
				case "seen":
					bad.config.Claim = func(ctx context.Context, name string) (store.Feed, error) {
						f, err := bad.claim(ctx, name)
						return panickingFeed{f}, err
					}
				}
				stop := bad.start()
				good.run(10 * time.Minute)
				good.ehr.set("3", "a", "p")
				good.run(10 * time.Minute)
				stop()
				good.expect("0@a", "1@a", "2@a", "3@a")
				if n := strings.Count(bad.logs.String(), "please report it"); n < 5 || n > 60 {
					t.Errorf("the broken pipeline reported %d times in 20 minutes", n)
				}
			})
		})
	}
}

type panickingFeed struct{ store.Feed }

func (panickingFeed) Seen(context.Context, []sdk.Ref) ([]store.Row, error) { panic(canary) }

// panicking is a source of which one call panics.
type panicking struct {
	*ehr
	call string
}

func (p *panicking) may(call string) {
	if p.call == call {
		panic(canary)
	}
}

func (p *panicking) Feed(ctx context.Context, name string) (sdk.Feed, error) {
	p.may("feed")
	return p.ehr.Feed(ctx, name)
}

func (p *panicking) Poll(ctx context.Context, q sdk.Query) (sdk.Page, error) {
	p.may("poll")
	page, err := p.ehr.Poll(ctx, q)
	if p.call == "ack" {
		page.Ack = []byte("token")
	}
	return page, err
}

func (p *panicking) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	p.may("fetch")
	return p.ehr.Fetch(ctx, refs)
}

func (p *panicking) Ack(ctx context.Context, feed string, token []byte) error {
	p.may("ack")
	return p.ehr.Ack(ctx, feed, token)
}

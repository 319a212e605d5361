// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// listIn is a list of the ids in change.data.NAME, which are separated by blanks; "-" is for an absent one.
type listIn string

func (name listIn) EvalList(r *record.Record) ([]string, error) {
	raw, _ := rawjson.Get(r.Change.Data, string(name))
	text, _ := rawjson.Text(raw)
	if text == "broken" {
		return nil, errors.New("main.hcl:1: is no list")
	}
	ids := strings.Fields(text)
	for i, id := range ids {
		ids[i] = strings.TrimPrefix(id, "-")
	}
	return ids, nil
}

// cond is a scripted condition.
type cond func(*record.Record) (bool, error)

func (f cond) EvalBool(r *record.Record) (bool, error) { return f(r) }

// bodies are the values of fetched.NAME in the outbox, by record.
func (r *rig) bodies(name string) map[string]string {
	r.Helper()
	got := map[string]string{}
	for _, e := range r.outbox() {
		raw, _ := rawjson.Get(e.Body, "fetched", name)
		got[strings.TrimPrefix(e.Ref.ID, canary)] = strings.ReplaceAll(string(raw), canary, "")
	}
	return got
}

// failing makes fetches of some ids fail.
func failing(with map[string]error) func(sdk.Ref) error {
	return func(ref sdk.Ref) error { return with[strings.TrimPrefix(ref.ID, canary)] }
}

func TestForEachFetchesAListInItsOrder(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{{Name: "team", Resource: "provider", ForEach: listIn("state")}}
		r.ehr.set("1", "b - a b", "")
		r.ehr.set("2", "", "")
		r.ehr.set("3", "c", "")
		r.run(time.Second)
		if got := r.ehr.fetched(); !slices.Equal(got, []string{"b", "a", "c"}) {
			t.Errorf("fetched %q: each distinct id once", got)
		}
		b := `{"id":"b","next":"b-next"}`
		got := r.bodies("team")
		if want := `[` + b + `,null,{"id":"a","next":"a-next"},` + b + `]`; got["1"] != want {
			t.Errorf("the mapping saw %s, want %s", got["1"], want)
		}
		if got["2"] != "[]" || got["3"] != `[{"id":"c","next":"c-next"}]` {
			t.Errorf("the mapping saw %q", got)
		}
	})
}

// TestAListIsBoundedAndFailsForItsRecordOnly: one element that can't be had, a list that is none, one without end.
func TestAListIsBoundedAndFailsForItsRecordOnly(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{{Name: "team", Resource: "provider", ForEach: listIn("state")}}
		r.ehr.onRef = failing(map[string]error{"gone": sdk.NotFound("GET /provider/{id}: 404")})
		r.ehr.set("1", "a gone", "")
		r.ehr.set("2", "broken", "")
		r.ehr.set("3", strings.Repeat("x ", 1001), "")
		r.ehr.set("4", "a", "")
		r.run(time.Second)
		r.expect("4@a")
		var got []string
		for _, d := range r.dead() {
			got = append(got, strings.TrimPrefix(d.Ref.ID, canary)+" "+d.Cause.Code)
		}
		if want := []string{"1 not_found", "2 expression", "3 expression"}; !slices.Equal(got, want) {
			t.Errorf("dead letters %q, want %q", got, want)
		}
	})
}

func TestAListWaitsForItsElements(t *testing.T) {
	simulate(t, func(r *rig) {
		r.config.Fetches = []pipeline.Fetch{{Name: "team", Resource: "provider", ForEach: listIn("state")}}
		r.ehr.onRef = failing(map[string]error{"busy": sdk.Retryable("GET /provider/{id}: 503")})
		r.ehr.set("1", "a busy", "")
		r.run(time.Second)
		r.expect()
		r.ehr.do(func() { r.ehr.onRef = nil })
		r.run(time.Minute)
		r.expect("1@a busy")
	})
}

// TestWhatIsMissing: of a fetch that finds nothing for one record, by its options.
func TestWhatIsMissing(t *testing.T) {
	missing, forbidden := sdk.Gone("GET /patient/{id}: 410"), sdk.Forbidden("GET /patient/{id}: 403")
	for name, test := range map[string]struct {
		options pipeline.Fetch
		err     error
		want    string // "": filtered out
		dead    string
	}{
		"by default":                   {pipeline.Fetch{}, missing, "", "gone"},
		"as a dead letter":             {pipeline.Fetch{OnMissing: pipeline.DeadLetterMissing}, missing, "", "gone"},
		"skipped":                      {pipeline.Fetch{OnMissing: pipeline.SkipMissing}, missing, "", ""},
		"delivered":                    {pipeline.Fetch{OnMissing: pipeline.DeliverMissing}, missing, "null", ""},
		"optional":                     {pipeline.Fetch{OnMissing: pipeline.DeliverMissing, Optional: true}, missing, "null", ""},
		"optional and skipped":         {pipeline.Fetch{OnMissing: pipeline.SkipMissing, Optional: true}, missing, "", ""},
		"forbidden and skipped":        {pipeline.Fetch{OnMissing: pipeline.SkipMissing}, forbidden, "", "forbidden"},
		"forbidden and delivered":      {pipeline.Fetch{OnMissing: pipeline.DeliverMissing}, forbidden, "", "forbidden"},
		"forbidden and optional":       {pipeline.Fetch{OnMissing: pipeline.DeliverMissing, Optional: true}, forbidden, "null", ""},
		"forbidden, optional, skipped": {pipeline.Fetch{OnMissing: pipeline.SkipMissing, Optional: true}, forbidden, "null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(r *rig) {
				f := test.options
				f.Name, f.Resource, f.ID = "patient", "patient", inData("patient")
				r.config.Fetches = []pipeline.Fetch{f}
				r.ehr.onRef = failing(map[string]error{"lost": test.err})
				r.ehr.set("0", "a", "there")
				r.ehr.set("1", "a", "lost")
				r.run(5 * time.Minute)
				got, delivered := r.bodies("patient")["1"]
				if got != test.want || delivered != (test.want != "") {
					t.Errorf("the mapping saw %q, want %q", got, test.want)
				}
				if dead := r.dead(); len(dead) > 0 != (test.dead != "") || len(dead) > 0 && dead[0].Cause.Code != test.dead {
					t.Errorf("dead letters %+v, want %q", dead, test.dead)
				}
				if n := len(r.ehr.fetched()); n != 2 {
					t.Errorf("%d fetches: what is decided is not asked again", n)
				}
				if p := r.position(); p.Watermark == nil {
					t.Error("the window is not finished")
				}
			})
		})
	}
}

// TestOptionalWaitsForWhatMayComeYet: an outage is no reason to deliver less.
func TestOptionalWaitsForWhatMayComeYet(t *testing.T) {
	for _, err := range []error{sdk.Retryable("503"), sdk.Unauthorized("401"), sdk.RateLimited(time.Second, "429")} {
		simulate(t, func(r *rig) {
			f := patients()
			f.Optional, f.OnMissing = true, pipeline.DeliverMissing
			r.config.Fetches = []pipeline.Fetch{f}
			r.ehr.onRef = func(sdk.Ref) error { return err }
			r.ehr.set("1", "a", "p1")
			r.run(30 * time.Second)
			r.expect()
			r.ehr.do(func() { r.ehr.onRef = nil })
			r.run(10 * time.Minute)
			if got := r.bodies("patient")["1"]; got != `{"id":"p1","next":"p1-next"}` {
				t.Errorf("after %v the mapping saw %s", err, got)
			}
		})
	}
}

// TestNothingFoundForAnyChangeIsSaidAloud: a path that is wrong looks like records that are missing.
func TestNothingFoundForAnyChangeIsSaidAloud(t *testing.T) {
	for _, what := range []pipeline.OnMissing{pipeline.SkipMissing, pipeline.DeliverMissing} {
		simulate(t, func(r *rig) {
			f := patients()
			f.OnMissing = what
			r.config.Fetches = []pipeline.Fetch{f}
			bad := true
			r.ehr.onRef = func(sdk.Ref) error {
				if bad {
					return sdk.NotFound("GET /patinet/{id}: 404")
				}
				return nil
			}
			r.ehr.fill(5, "a")
			stop := r.start()
			pass(time.Second)
			r.expectLog("is the resource's path right", 1)
			r.ehr.do(func() { bad = false })
			r.ehr.fill(2, "b")
			pass(2 * time.Minute)
			r.ehr.do(func() { bad = true })
			r.ehr.fill(5, "c") // a step that works is believed
			pass(2 * time.Minute)
			stop()
			r.expectLog("is the resource's path right", 1)
			r.expectDead()
		})
	}
}

func TestWhenSaysWhetherAnythingIsFetched(t *testing.T) {
	simulate(t, func(r *rig) {
		f := patients()
		f.When = cond(func(rec *record.Record) (bool, error) {
			switch rec.Change.Version {
			case "broken":
				return false, errors.New("main.hcl:1: the expression gives null")
			case "panic":
				panic(canary)
			}
			return rec.Change.Version == "yes", nil
		})
		r.config.Fetches = []pipeline.Fetch{f}
		r.ehr.set("1", "yes", "p1")
		r.ehr.set("2", "no", "p2")
		r.ehr.set("3", "broken", "p3")
		r.ehr.set("4", "panic", "p4")
		r.run(time.Second)
		if got := r.ehr.fetched(); !slices.Equal(got, []string{"p1"}) {
			t.Errorf("fetched %q", got)
		}
		if got := r.bodies("patient"); got["2"] != "null" || got["1"] == "null" {
			t.Errorf("the mappings saw %q", got)
		}
		r.expectDead("3@broken fetch expression", "4@panic fetch expression")
	})
}

// TestADeletionWithoutDataIsTold though no expression finds anything in it.
func TestADeletionWithoutDataIsTold(t *testing.T) {
	simulate(t, func(r *rig) {
		fails := errors.New("main.hcl:1: null in a template")
		f := patients()
		f.ID = expr(func(rec *record.Record) (string, bool, error) {
			if rawjson.IsNull(rec.Change.Data) {
				return "", false, fails
			}
			return "p1", true, nil
		})
		r.config.Fetches = []pipeline.Fetch{f}
		r.config.Delivers[0].OrderBy = f.ID
		r.ehr.set("1", "a", "p1")
		stop := r.start()
		pass(time.Second)
		r.ehr.do(func() {
			r.ehr.log = append(r.ehr.log, sdk.Change{
				Ref: sdk.Ref{Kind: "appointment", ID: canary + "1"}, Version: "b", Op: sdk.Deleted, Time: time.Now(), Data: json.RawMessage("null"),
			})
		})
		pass(2 * time.Minute)
		stop()
		r.expectDead()
		r.expect("1@a", "1@b")
		if out := r.outbox(); out[1].Key != out[0].Key || out[0].Key != "p1" {
			t.Errorf("the deletion has the lane %q, the record had %q", out[1].Key, out[0].Key)
		}
	})
}

// TestCacheSavesFetchesAcrossWindows for as long as it says, and errors are never kept.
func TestCacheSavesFetchesAcrossWindows(t *testing.T) {
	simulate(t, func(r *rig) {
		f, fresh := patients(), patients()
		f.Cache, f.OnMissing = 10*time.Minute, pipeline.DeliverMissing
		fresh.Name, fresh.Resource = "always", "fresh"
		r.config.Fetches = []pipeline.Fetch{f, fresh}
		var patientsFetched []string
		lost := true
		r.ehr.onRef = func(ref sdk.Ref) error {
			if ref.Kind == "patient" {
				patientsFetched = append(patientsFetched, strings.TrimPrefix(ref.ID, canary))
				if lost && ref.ID == canary+"lost" {
					return sdk.NotFound("GET /patient/{id}: 404")
				}
			}
			return nil
		}
		stop := r.start()
		for i := range 12 { // one window a minute
			r.ehr.set("1", strconv.Itoa(i), "p1")
			if i < 2 {
				r.ehr.set("2", strconv.Itoa(i), "lost")
			}
			pass(time.Minute)
			r.ehr.do(func() { lost = false })
		}
		stop()
		if want := []string{"p1", "lost", "lost", "p1"}; !slices.Equal(patientsFetched, want) {
			t.Errorf("fetched %q, want %q", patientsFetched, want)
		}
		if n := len(r.ehr.fetched()) - len(patientsFetched); n != 14 {
			t.Errorf("the fetch without cache was made %d times, want 14", n)
		}
	})
}

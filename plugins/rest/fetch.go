// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// resource is a compiled Resource.
type resource struct {
	request template
	id      dotted // to the identifier in the answer; nil: it is not looked at
	batch   *batch // nil: one call for each identifier
}

func (s *source) compileResource(r Resource, base string) (resource, error) {
	at := "resource." + r.Name
	c := resource{request: template{method: http.MethodGet, base: base, path: r.Path, query: r.Query, placeholder: "{id}",
		credential: s.auth.param}}
	if r.Batch != nil {
		c.request.placeholder = "{ids}"
	}
	var err error
	if c.request.header, err = mergeHeaders(s.header, r.Headers, s.auth.header, at+".headers"); err != nil {
		return c, err
	}
	if err := c.request.check(at); err != nil {
		return c, err
	}
	if c.id, err = parseDotted(r.ID); err != nil {
		return c, sdk.Misconfigured(at+".id", "is not a dotted path like data.id")
	}
	if r.Batch != nil {
		if c.id != nil {
			return c, sdk.Misconfigured(at+".id", "has no meaning with a batch, which has an id of its own")
		}
		c.batch, err = compileBatch(r.Batch, at+".batch")
	}
	return c, err
}

func (r resource) describe(name string) sdk.Resource {
	d := sdk.Resource{Name: name, Batch: 1, Why: "one " + r.request.String() + " for each identifier"}
	if r.batch != nil {
		d.Batch, d.Why = r.batch.size, "one "+r.request.String()+" for up to "+strconv.Itoa(r.batch.size)+" identifiers"
	}
	return d
}

// mostFetched bounds what the answers for one Fetch hold together, in bytes: they wait in memory for the last of them.
var mostFetched int64 = sdk.MaxMessage / 2

// Fetch calls once for each distinct ref, or for each batch of them, side by side within the source's limits. What befalls
// one ref does not touch the others. When the answers are too large together it fails as a whole, and the engine asks for fewer.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var held atomic.Int64
	results := make([]sdk.Result, len(refs))
	first := make(map[sdk.Ref]int, len(refs))
	batched, distinct := map[string][]int{}, map[string][]int{}
	var kinds []string
	var g errgroup.Group
	g.SetLimit(s.parallel)
	// A panic must not end the process, which serves other sources too; its value may quote a record.
	start := func(some []int, fetch func()) {
		g.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					for _, i := range some {
						results[i].Err = sdk.Retryable("the rest adapter panicked (%T), please report it", p)
					}
				}
			}()
			fetch()
			for _, i := range some {
				held.Add(int64(len(results[i].Data)))
			}
			if held.Load() > mostFetched && len(refs) > 1 {
				cancel()
			}
			return nil
		})
	}
	for i, ref := range refs {
		if _, again := first[ref]; again {
			continue
		}
		first[ref] = i
		r, err := s.resourceOf(ref)
		if err == nil {
			distinct[ref.Kind] = append(distinct[ref.Kind], i)
		}
		switch {
		case err != nil:
			results[i].Err = err
		case r.batch != nil:
			if batched[ref.Kind] == nil {
				kinds = append(kinds, ref.Kind)
			}
			batched[ref.Kind] = append(batched[ref.Kind], i)
		default:
			start([]int{i}, func() { results[i] = s.fetch(ctx, r, ref) })
		}
	}
	for _, kind := range kinds {
		r := s.resources[kind]
		for _, some := range r.chunks(refs, batched[kind]) {
			start(some, func() { s.fetchBatch(ctx, r, refs, some, results) })
		}
	}
	_ = g.Wait() // each failure is in its own result
	if held.Load() > mostFetched && len(refs) > 1 {
		return nil, sdk.Permanent("the answers for %d records are larger than %d MiB together; ask for less at a time", len(refs), mostFetched>>20)
	}
	for kind, some := range distinct {
		s.doubt(ctx, s.resources[kind], refs, some, results)
	}
	for i, ref := range refs {
		results[i] = results[first[ref]]
		results[i].Ref = ref
	}
	return results, nil
}

// witnesses are the records that were there last, by resource.
type witnesses struct {
	mu  sync.Mutex
	ids map[string]string
}

// doubt does not take the word of a server that knows none of some refs of a resource, given by index, if it no longer knows the one that was
// there last either: a proxy whose server is started anew says so of all, and a change is not to be dropped for it.
func (s *source) doubt(ctx context.Context, r resource, refs []sdk.Ref, some []int, results []sdk.Result) {
	kind, there := refs[some[0]].Kind, ""
	var missing []int
	for _, i := range some {
		switch {
		case results[i].Err == nil:
			there = refs[i].ID
		case unknown(results[i].Err):
			missing = append(missing, i)
		}
	}
	w := &s.witnesses
	w.mu.Lock()
	witness := w.ids[kind]
	if there != "" {
		w.ids[kind] = there
	}
	w.mu.Unlock()
	if there != "" || witness == "" || len(missing) == 0 {
		return
	}
	found := make([]sdk.Result, 1)
	if ref := (sdk.Ref{Kind: kind, ID: witness}); r.batch != nil {
		s.fetchBatch(ctx, r, []sdk.Ref{ref}, []int{0}, found)
	} else {
		found[0] = s.fetch(ctx, r, ref)
	}
	err := found[0].Err
	switch {
	case err == nil, sdk.CodeOf(err) == sdk.CodeNotFound && !unknown(err): // it was answered, if without the record
		return
	case unknown(err):
		err = sdk.Retryable("%s, also for a record that was there before", err.Error())
		w.mu.Lock()
		if w.ids[kind] == witness {
			delete(w.ids, kind) // it may have been deleted: it is a witness once
		}
		w.mu.Unlock()
	}
	for _, i := range missing {
		results[i].Err = err
	}
}

// unknown says whether a server answered that there is no such thing.
func unknown(err error) bool {
	var status *httpx.StatusError
	return errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusGone)
}

// resourceOf finds the resource of a ref that can be asked for.
func (s *source) resourceOf(ref sdk.Ref) (resource, error) {
	r, ok := s.resources[ref.Kind]
	switch {
	case !ok:
		return r, sdk.Permanent("resource %q is not configured", ref.Kind)
	case ref.Args != "":
		return r, sdk.Permanent("%s: takes an identifier and no further arguments", r.request)
	case ref.ID == "", ref.ID == ".", ref.ID == "..": // another path would be called, such as that of the list
		return r, sdk.Permanent("%s: the identifier is empty or not fit for a path", r.request)
	case r.batch != nil && strings.Contains(ref.ID, r.batch.separator):
		return r, sdk.Permanent("%s: the identifier holds the batch's separator, so it would be taken for several", r.request)
	}
	return r, nil
}

func (s *source) fetch(ctx context.Context, r resource, ref sdk.Ref) sdk.Result {
	res, err := s.do(ctx, r.request.request(ref.ID, nil))
	if err != nil {
		return sdk.Result{Err: err}
	}
	if r.id != nil {
		raw, ok := rawjson.Get(res.Body, r.id...)
		switch id, _ := rawjson.Text(raw); {
		case id == "":
			return sdk.Result{Err: sdk.Retryable("%s: no identifier at %q: found %s", r.request, r.id, rawjson.Found(raw, ok))}
		case id != ref.ID:
			return sdk.Result{Err: sdk.Retryable("%s: answered with another record than was asked for, by the identifier at %q", r.request, r.id)}
		}
	}
	return sdk.Result{Data: res.Body}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

const (
	defaultBatch = 50
	maxBatch     = 1000
	// maxURL bounds the address of a batch of several, in bytes. Some servers and proxies take no more; those that take less
	// refuse the batch, which is then halved.
	maxURL = 2048
)

// batch is a compiled Batch.
type batch struct {
	size      int
	separator string
	items     dotted
	id        dotted
}

func compileBatch(b *Batch, at string) (*batch, error) {
	c := &batch{size: cmp.Or(b.Size, defaultBatch), separator: cmp.Or(b.Separator, ",")}
	if c.size < 1 || c.size > maxBatch {
		return nil, sdk.Misconfigured(at+".size", "must be from 1 to %d", maxBatch)
	}
	for _, p := range []struct {
		name, value string
		into        *dotted
		optional    bool
	}{{"items", b.Items, &c.items, true}, {"id", b.ID, &c.id, false}} {
		var err error
		if *p.into, err = parseDotted(p.value); err != nil || len(*p.into) == 0 && !p.optional {
			return nil, sdk.Misconfigured(at+"."+p.name, "is not a dotted path like data.id")
		}
	}
	return c, nil
}

// chunks cuts what is to be fetched, indexes of refs, into batches that fit size and address.
func (r resource) chunks(refs []sdk.Ref, wanted []int) [][]int {
	empty := len(r.request.url("", nil))
	var chunks [][]int
	length := 0
	for _, i := range wanted {
		// What the identifier adds to the address, percent-encoded at each place where the identifiers stand.
		adds := len(r.request.url(refs[i].ID+r.batch.separator, nil)) - empty
		n := len(chunks) - 1
		if n < 0 || len(chunks[n]) == r.batch.size || length+adds > maxURL {
			chunks, length = append(chunks, nil), empty
			n++
		}
		chunks[n] = append(chunks[n], i)
		length += adds
	}
	return chunks
}

// fetchBatch fetches some refs, given by index, by one call if all goes well.
func (s *source) fetchBatch(ctx context.Context, r resource, refs []sdk.Ref, some []int, results []sdk.Result) {
	for {
		items, err := s.callBatch(ctx, r, refs, some)
		var missing []int
		for _, i := range some {
			if data, ok := items[refs[i].ID]; ok {
				results[i].Data = data
			} else {
				missing = append(missing, i)
			}
		}
		switch {
		case len(missing) == 0:
			return
		case err != nil && len(some) > 1 && (len(items) > 0 || ofOne(err)): // the fault may be that of one of them
			half := len(missing) / 2
			if half > 0 {
				s.fetchBatch(ctx, r, refs, missing[:half], results)
			}
			s.fetchBatch(ctx, r, refs, missing[half:], results)
			return
		case err == nil && len(items) == 0:
			err = sdk.NotFound("%s: the identifier is not among the items of the answer", r.request)
			fallthrough
		case err != nil:
			for _, i := range missing {
				results[i].Err = err
			}
			return
		}
		// A server may cut the answer at its own size of page, so that what is missing from an answer with other items is not
		// known not to exist: it is asked for again, until nothing of it comes any more.
		some = missing
	}
}

// ofOne says whether an error of a batch may be that of a single identifier in it, or of their number.
func ofOne(err error) bool {
	var status *httpx.StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusUnprocessableEntity, http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return false
}

// callBatch makes the call and gives the items of its answer by identifier.
func (s *source) callBatch(ctx context.Context, r resource, refs []sdk.Ref, some []int) (map[string][]byte, error) {
	ids := make([]string, len(some))
	asked := make(map[string]bool, len(some))
	for n, i := range some {
		ids[n] = refs[i].ID
		asked[refs[i].ID] = true
	}
	res, err := s.do(ctx, r.request.request(strings.Join(ids, r.batch.separator), nil))
	if err != nil {
		return nil, err
	}
	return r.match(res.Body, asked)
}

// match gives the items of an answer by identifier. An answer that holds items and none of what was asked for is an error, as
// is one with an item that can't be matched, beside the others: what is missing then is not known not to exist.
func (r resource) match(body []byte, asked map[string]bool) (map[string][]byte, error) {
	array, ok := rawjson.Get(body, r.batch.items...)
	if !ok || len(array) == 0 || array[0] != '[' {
		if r.batch.items == nil {
			return nil, sdk.Retryable("%s: the answer is not an array: found %s; is items missing?", r.request, rawjson.Found(array, ok))
		}
		return nil, sdk.Retryable("%s: no array at %q: found %s", r.request, r.batch.items, rawjson.Found(array, ok))
	}
	items := make(map[string][]byte, len(asked))
	var err error
	n := 0
	for item := range rawjson.Elements(array) {
		if rawjson.IsNull(item) { // the place of one that does not exist
			continue
		}
		n++
		raw, ok := rawjson.Get(item, r.batch.id...)
		id, _ := rawjson.Text(raw)
		if asked[id] {
			items[id] = item
		} else if id == "" && err == nil {
			err = sdk.Retryable("%s: an item of the answer has no identifier at %q: found %s", r.request, r.batch.id, rawjson.Found(raw, ok))
		}
	}
	if n > 0 && len(items) == 0 && err == nil {
		err = sdk.Retryable("%s: none of the answer's %d items was asked for; is %q their identifier?", r.request, n, r.batch.id)
	}
	return items, err
}

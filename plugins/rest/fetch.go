// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Fetch calls once for each distinct ref, side by side within the source's limits. What befalls one ref does not touch the
// others.
func (s *source) Fetch(ctx context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	first := make(map[sdk.Ref]int, len(refs))
	var g errgroup.Group
	g.SetLimit(s.parallel)
	for i, ref := range refs {
		if _, again := first[ref]; again {
			continue
		}
		first[ref] = i
		g.Go(func() error {
			results[i] = s.fetch(ctx, ref)
			return nil
		})
	}
	_ = g.Wait() // each failure is in its own result
	for i, ref := range refs {
		results[i] = results[first[ref]]
	}
	return results, nil
}

func (s *source) fetch(ctx context.Context, ref sdk.Ref) sdk.Result {
	r := sdk.Result{Ref: ref}
	t, ok := s.resources[ref.Kind]
	switch {
	case !ok:
		r.Err = sdk.Permanent("resource %q is not configured", ref.Kind)
		return r
	case ref.Args != "":
		r.Err = sdk.Permanent("GET %s: takes an identifier and no further arguments", t.path)
		return r
	case ref.ID == "", ref.ID == ".", ref.ID == "..": // another path would be called, such as that of the list
		r.Err = sdk.Permanent("GET %s: the identifier is empty or not fit for a path", t.path)
		return r
	}
	res, err := s.client.JSON(ctx, httpx.Request{URL: t.url(ref.ID, nil), Template: t.path, Header: s.header})
	if err != nil {
		r.Err = err
		return r
	}
	r.Data = res.Body
	return r
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// unknownRefs makes a ref that the EHR can't know for each resource, in the form of one that it knows, if one is known.
func (k *kit) unknownRefs() (refs []sdk.Ref) {
	for _, r := range k.catalog.Resources {
		like := "kit-1"
		if i := slices.IndexFunc(k.refs, func(known sdk.Ref) bool { return known.Kind == r.Name }); i >= 0 {
			like = k.refs[i].ID
		}
		ref := sdk.Ref{Kind: r.Name, ID: unknownID(like)}
		k.watch.id(ref)
		refs = append(refs, ref)
	}
	return refs
}

// unknownID makes an identifier of the form of another: letters and digits are others, all else stays, so that a server that looks at
// the form does not refuse it. One of few digits gets nine, as it could else be another record's.
func unknownID(like string) string {
	digits := strings.Trim(like, "0123456789") == ""
	if digits && len(like) < 9 {
		return "98" + random("0123456789", 7)
	}
	hex := strings.Trim(strings.ToLower(like), "0123456789abcdef-") == ""
	changed := 0
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			changed++
			if like[0] == byte(r) && r != '0' && changed == 1 {
				return r // a number that begins with 0 may not be one
			}
			return rune(random("0123456789", 1)[0])
		case hex && r >= 'a' && r <= 'f':
			changed++
			return rune(random("abcdef", 1)[0])
		}
		return r
	}, like)
	if changed < 6 {
		id += random("0123456789", 7)
	}
	return id
}

func random(from string, n int) string {
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
		if err != nil {
			return from[:1] // never: crypto/rand does not fail
		}
		b.WriteByte(from[i.Int64()])
	}
	return b.String()
}

func checkNotFound(k *kit, o *outcome) {
	refs := k.unknownRefs()
	if len(refs) == 0 {
		o.inapplicable("the source has no resource")
		return
	}
	o.checked()
	k.with(o, k.process, func(s *source) {
		for _, ref := range refs {
			results, err := s.fetch([]sdk.Ref{ref})
			switch {
			case err != nil:
				o.fail("resource %s: Fetch as a whole fails (%s) for one identifier that the EHR does not know", ref.Kind, sdk.CodeOf(err))
			case results[0].Err == nil:
				o.fail("resource %s: an identifier that the EHR can't know gives a result without an error", ref.Kind)
			default:
				isKnown := slices.ContainsFunc(k.refs, func(known sdk.Ref) bool { return known.Kind == ref.Kind })
				switch code := sdk.CodeOf(results[0].Err); {
				case code == sdk.CodeNotFound || code == sdk.CodeGone:
				case code == sdk.CodePermanent && !isKnown:
					o.unchecked("resource %s: no identifier of it is known, and the EHR may refuse the form of one that is made up", ref.Kind)
				default:
					o.fail("resource %s: an identifier that the EHR does not know is %s: %s", ref.Kind, code, k.watch.shown(results[0].Err))
				}
			}
		}
	})
}

// checkPaths asks for what is no record's identifier, and for records by a way round.
func checkPaths(k *kit, o *outcome) {
	if len(k.catalog.Resources) == 0 {
		o.inapplicable("the source has no resource")
		return
	}
	o.checked()
	k.with(o, k.process, func(s *source) {
		for _, r := range k.catalog.Resources {
			ids := []string{"", ".", ".."}
			if i := slices.IndexFunc(k.refs, func(known sdk.Ref) bool { return known.Kind == r.Name }); i >= 0 {
				ids = append(ids, "./"+k.refs[i].ID, "../"+r.Name+"/"+k.refs[i].ID)
			}
			for n, id := range ids {
				results, err := s.fetch([]sdk.Ref{{Kind: r.Name, ID: id}})
				switch {
				case err == nil && results[0].Err == nil && n < 3:
					o.fail("resource %s: the identifier %q gives a result without an error", r.Name, id)
				case err == nil && results[0].Err == nil:
					o.fail("resource %s: a known identifier behind %s gives a result without an error", r.Name, id[:strings.LastIndex(id[:3], "/")+1])
				}
			}
		}
	})
}

func checkOrder(k *kit, o *outcome) {
	if len(k.catalog.Resources) == 0 {
		o.inapplicable("the source has no resource")
		return
	}
	unknown := k.unknownRefs()
	if len(k.refs) == 0 {
		o.unchecked("no identifier of a record is known; say by Options.Refs, or by the fetch blocks of a pipeline, what is fetched for a change")
	}
	k.with(o, k.process, func(s *source) {
		// Each alone tells what belongs to it, and which are there.
		alone := map[sdk.Ref]sdk.Result{}
		var found []sdk.Ref
		for _, ref := range k.refs {
			results, err := s.fetch([]sdk.Ref{ref})
			if err != nil {
				o.fail("Fetch of one ref: %s", k.watch.shown(err))
				return
			}
			alone[ref] = results[0]
			switch code := sdk.CodeOf(results[0].Err); {
			case code == "":
				found = append(found, ref)
			case code != sdk.CodeNotFound && code != sdk.CodeGone: // what a change names may have been deleted since
				o.fail("resource %s: a ref that a change names can't be fetched: %s", ref.Kind, k.watch.shown(results[0].Err))
			}
		}
		if len(k.refs) > 0 && len(found) == 0 {
			o.unchecked("nothing that changes name could be fetched")
		}
		var refs []sdk.Ref
		for i, ref := range k.refs {
			refs = append(refs, ref)
			if len(unknown) > 0 && i%2 == 0 {
				refs = append(refs, unknown[i/2%len(unknown)])
			}
		}
		for i := len(k.refs) - 1; i >= 0; i-- {
			refs = append(refs, k.refs[i])
		}
		refs = append(refs, unknown...)
		k.ordered(o, s, refs, alone)
		k.ordered(o, s, nil, nil)
		if k.refs = found; len(found) > 0 {
			o.checked()
		}
	})
}

// ordered fetches refs and looks at the answer as it came.
func (k *kit) ordered(o *outcome, s *source, refs []sdk.Ref, alone map[sdk.Ref]sdk.Result) {
	ctx, cancel := k.timeout()
	defer cancel()
	var reply proto.Message
	_, err := s.Fetch(onWire(ctx, &reply), refs)
	got, ok := reply.(*pb.FetchResponse)
	if !ok || errors.Is(err, sdk.ErrNoAnswer) {
		o.fail("Fetch of %d refs: %s", len(refs), k.watch.shown(err))
		return
	}
	results := got.GetResults()
	if len(results) != len(refs) {
		if err != nil && len(results) == 0 {
			o.fail("Fetch of %d refs, some of them unknown or named twice, fails as a whole: %s", len(refs), k.watch.shown(err))
			return
		}
		o.fail("Fetch gives %d results for %d refs, some of them unknown or named twice", len(results), len(refs))
		return
	}
	for i, r := range results {
		ref := sdk.Ref{Kind: r.GetRef().GetKind(), ID: r.GetRef().GetId(), Args: r.GetRef().GetArgs()}
		known, isKnown := alone[refs[i]]
		switch {
		case ref != refs[i]:
			o.fail("result %d of %d is that of another ref", i+1, len(refs))
		case r.GetError() == nil && !json.Valid(r.GetData()):
			o.fail("result %d of %d has neither JSON nor an error", i+1, len(refs))
		case isKnown && known.Err == nil && r.GetError() == nil && rawjson.Hash(known.Data) != rawjson.Hash(r.GetData()):
			// Some answers differ at each reading, by the time that they were made at.
			if again, err := s.fetch(refs[i : i+1]); err != nil || rawjson.Hash(again[0].Data) != rawjson.Hash(known.Data) {
				continue
			}
			o.fail("result %d of %d holds something else than when the same ref is fetched alone", i+1, len(refs))
		case isKnown && known.Err == nil && r.GetError() != nil:
			o.fail("result %d of %d is an error (%s), and none when the same ref is fetched alone", i+1, len(refs), r.GetError().GetCode())
		}
	}
}

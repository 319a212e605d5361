// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"fmt"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/rawjson"
)

// include is a compiled Include: where the items of a feed embed a resource.
type include struct {
	resource string
	path     dotted
	id       dotted
}

func compileIncludes(includes []Include, resources []Resource, at string) ([]include, error) {
	var compiled []include
	for _, i := range includes {
		at := at + ".include." + i.Name
		c := include{resource: i.Name}
		known := false
		for _, r := range resources {
			known = known || r.Name == i.Name
		}
		if !known {
			return nil, sdk.Misconfigured(at, "there is no resource %q, as which what is embedded counts; declare it, "+
				"for when it has to be fetched", i.Name)
		}
		for _, p := range []struct {
			name, value string
			into        *dotted
		}{{"path", i.Path, &c.path}, {"id", i.ID, &c.id}} {
			var err error
			if *p.into, err = parseDotted(p.value); err != nil || len(*p.into) == 0 {
				return nil, sdk.Misconfigured(at+"."+p.name, "is not a dotted path like visit.patient")
			}
		}
		compiled = append(compiled, c)
	}
	return compiled, nil
}

// embedded finds the resources that some changes embed, of each the one in the newest item, and of several of
// one time the last: an item may hold a copy from the time of its change. What is null or absent is not
// embedded; what can't be used is noted, and fetched when it is wanted.
func (f *feed) embedded(changes []sdk.Change) (included []sdk.Result, notes []sdk.Note) {
	place, from := map[sdk.Ref]int{}, map[sdk.Ref]time.Time{}
	for _, in := range f.include {
		unfit := 0
		take := func(raw []byte, at time.Time) {
			if rawjson.IsNull(raw) {
				return
			}
			value, _ := rawjson.Get(raw, in.id...)
			id, _ := rawjson.Text(value)
			if raw[0] != '{' || id == "" {
				unfit++
				return
			}
			r := sdk.Result{Ref: sdk.Ref{Kind: in.resource, ID: id}, Data: raw}
			n, again := place[r.Ref]
			switch {
			case !again:
				place[r.Ref] = len(included)
				included = append(included, r)
			case at.Before(from[r.Ref]):
				return
			default:
				included[n] = r
			}
			from[r.Ref] = at
		}
		for i := range changes {
			c := &changes[i]
			raw, _ := rawjson.Get(c.Data, in.path...)
			if len(raw) == 0 || raw[0] != '[' {
				take(raw, c.Time)
				continue
			}
			for one := range rawjson.Elements(raw) {
				take(one, c.Time)
			}
		}
		if unfit > 0 {
			notes = append(notes, sdk.Note{Code: "include-unfit", Text: fmt.Sprintf("%d values at %q are not objects with an "+
				"identifier at %q; what they stand for is fetched", unfit, in.path, in.id)})
		}
	}
	return included, notes
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Describe, Validate and Open.

func checkDescribe(k *kit, o *outcome) {
	o.checked()
	if k.info.Name == "" || k.info.Version == "" {
		o.fail("the adapter has no name, or no version")
	}
	var catalogs []sdk.Catalog
	for _, p := range []*Process{k.process, k.process, k.second} {
		ctx, cancel := k.timeout()
		info, s, err := p.Client.Describe(ctx)
		cancel()
		switch {
		case err != nil:
			o.fail("Describe: %v", err)
		case !reflect.DeepEqual(info, k.info):
			o.fail("what it tells about itself differs from one call of Describe to the next")
		case !reflect.DeepEqual(s, k.schema):
			o.fail("the schema differs from one call of Describe to the next")
		}
		if source, err := k.open(p, k.main); err == nil { // else rule open fails
			catalogs = append(catalogs, source.Catalog())
			_ = source.close() // rule handles looks at it
		}
	}
	for _, c := range catalogs {
		if !reflect.DeepEqual(c, catalogs[0]) {
			o.fail("the catalog differs from one opening to the next")
		}
	}
	for _, problem := range misdescribed(k.schema, "") {
		o.fail("%s", problem)
	}
}

var types = []schema.Type{schema.String, schema.Number, schema.Integer, schema.Bool, schema.Duration, schema.List, schema.Map, schema.Any}

// misdescribed looks at what HCL could not be checked against.
func misdescribed(s schema.Schema, path string) (problems []string) {
	names := map[string]bool{}
	for _, a := range s.Attributes {
		if a.Name == "" || names[a.Name] || !slices.Contains(types, a.Type) {
			problems = append(problems, fmt.Sprintf("attribute %q has no name, that of another one, or a type that there is not (%q)", path+a.Name, a.Type))
		}
		names[a.Name] = true
	}
	for _, b := range s.Blocks {
		if b.Name == "" || names[b.Name] {
			problems = append(problems, fmt.Sprintf("block %q has no name, or that of something else", path+b.Name))
		}
		names[b.Name] = true
		problems = append(problems, misdescribed(b.Body, path+b.Name+".")...)
	}
	return problems
}

// mistake is a configuration with one mistake.
type mistake struct {
	what   string
	path   string // of the attribute to blame
	block  string // a block that is missing; the text may name it in the place of the path
	config map[string]any
}

func checkConfig(k *kit, o *outcome) {
	if err := k.validate(k.main.config); err != nil {
		o.fail("the configuration that is to be tested with is refused: %s", k.watch.shown(err))
		return
	}
	o.checked()
	good, err := members(k.main.config)
	if err != nil {
		return // document has looked at it
	}
	planted := k.watch.canary + "secret-config"
	for n, m := range mistakes(k.schema, good, planted) {
		config, err := json.Marshal(m.config)
		if err != nil {
			continue // it was made of JSON
		}
		k.blames(o, m, k.validate(config))
		if n > 0 {
			continue
		}
		if source, err := k.open(k.process, &lane{config: config}); err == nil {
			_ = source.close() // it should not be there
			o.fail("Open accepts a configuration that Validate refuses (%s)", m.what)
		}
	}
	for _, text := range []string{"", "{", "7"} {
		if err := k.validate([]byte(text)); err == nil {
			o.fail("Validate accepts a configuration that is not a JSON object")
		}
	}
}

func (k *kit) blames(o *outcome, m mistake, err error) {
	var e *sdk.Error
	switch {
	case err == nil:
		o.fail("%s: Validate accepts it", m.what)
	case !errors.As(err, &e) || e.Code != sdk.CodeMisconfigured:
		o.fail("%s: Validate fails with %s and not with %s", m.what, sdk.CodeOf(err), sdk.CodeMisconfigured)
	case m.block != "" && (strings.HasSuffix(e.Path, m.block) || strings.Contains(e.Text, m.block)):
	case e.Path != m.path:
		o.fail("%s: the error blames %q and not %q", m.what, e.Path, m.path)
	}
}

// mistakes derives bad configurations from a good one.
func mistakes(s schema.Schema, good map[string]any, planted string) []mistake {
	return mistakesIn(s, good, planted, "", func(m map[string]any) map[string]any { return m })
}

// mistakesIn makes mistakes in the body of a block; around puts it back into the whole.
func mistakesIn(s schema.Schema, body map[string]any, planted, path string, around func(map[string]any) map[string]any) (all []mistake) {
	with := func(name string, value any) map[string]any {
		changed := maps.Clone(body)
		changed[name] = value
		if value == nil {
			delete(changed, name)
		}
		return around(changed)
	}
	place := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	all = append(all, mistake{what: "an unknown attribute " + place("kit_unknown"), path: place("kit_unknown"), config: with("kit_unknown", "x")})
	for _, a := range s.Attributes {
		if a.Required {
			all = append(all, mistake{what: "no " + place(a.Name), path: place(a.Name), config: with(a.Name, nil)})
		}
		if a.Type != schema.Any {
			all = append(all, mistake{what: "a value of another type for " + place(a.Name), path: place(a.Name),
				config: with(a.Name, map[string]any{"kit": map[string]any{"kit": planted}})})
		}
		if len(a.Values) > 0 {
			all = append(all, mistake{what: "a value that is not one of those allowed for " + place(a.Name), path: place(a.Name),
				config: with(a.Name, "kit-no-such-value")})
		}
	}
	for _, b := range s.Blocks {
		if b.Required {
			all = append(all, mistake{what: "no block " + place(b.Name), path: place(b.Name), block: b.Name, config: with(b.Name, nil)})
		}
		bodies, list := body[b.Name].([]any)
		if one, ok := body[b.Name].(map[string]any); ok {
			bodies = []any{one}
		}
		if len(bodies) == 0 {
			continue
		}
		inner, ok := bodies[0].(map[string]any)
		if !ok {
			continue
		}
		at := place(b.Name)
		for _, label := range b.Labels {
			if text, ok := inner[label].(string); ok {
				at += "." + text
			}
		}
		all = append(all, mistakesIn(b.Body, inner, planted, at, func(changed map[string]any) map[string]any {
			if !list {
				return with(b.Name, changed)
			}
			several := slices.Clone(bodies)
			several[0] = changed
			return with(b.Name, several)
		})...)
	}
	return all
}

func checkOffline(k *kit, o *outcome) {
	if k.direct != "" {
		o.unchecked("%s", k.direct)
		return
	}
	o.checked()
	before := k.main.asked.Load()
	if err := k.validate(k.main.config); err != nil {
		return // rule config says so
	}
	if n := k.main.asked.Load() - before; n > 0 {
		o.fail("Validate made %d calls", n)
	}
}

func checkOpen(k *kit, o *outcome) {
	o.checked()
	source, err := k.open(k.process, k.main)
	if err != nil {
		o.fail("Open: %s", k.watch.shown(err))
		return
	}
	defer func() {
		if err := source.close(); err != nil {
			o.fail("Close: %s", k.watch.shown(err))
		}
	}()
	k.catalog = source.Catalog()
	for _, name := range k.o.Feeds {
		if source.feed(name).Class == "" {
			o.fail("the source has no feed %q, which is to be read", name)
		}
	}
	if len(k.catalog.Feeds) == 0 {
		o.fail("the source has no feed")
	}
	k.watch.mu.Lock()
	k.watch.common += strings.ToLower(fmt.Sprint(k.catalog))
	k.watch.mu.Unlock()
	for _, f := range k.harmless() {
		r, err := source.read(k.query(f))
		if err != nil {
			o.fail("%s", k.watch.shown(err))
			continue
		}
		k.readings[f.Name] = r
		k.collect(r)
	}
	if n := k.main.failed.Load(); n > 0 {
		o.fail("the EHR could not be reached, %d times", n)
	}
}

// collect takes refs to fetch from the changes of a feed.
func (k *kit) collect(r *reading) {
	of := k.o.Refs
	if special := k.o.FeedRefs[r.feed.Name]; special != nil {
		of = special
	}
	if of == nil {
		of = func(c sdk.Change) []sdk.Ref { return []sdk.Ref{{Kind: c.Ref.Kind, ID: c.Ref.ID}} }
	}
	for _, c := range r.changes {
		if c.Err != nil {
			continue
		}
		for _, ref := range of(c) {
			isResource := slices.ContainsFunc(k.catalog.Resources, func(r sdk.Resource) bool { return r.Name == ref.Kind })
			if isResource && ref.ID != "" && len(k.refs) < maxRefs && !slices.Contains(k.refs, ref) && c.Op != sdk.Deleted {
				k.refs = append(k.refs, ref)
				k.watch.id(ref)
			}
		}
	}
}

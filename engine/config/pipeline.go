// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/zclconf/go-cty/cty"
)

func (l *loader) pipelines() {
	for _, block := range l.of("pipeline") {
		o, ok := l.decode(block, pipelineSchema)
		before := len(l.diags)
		p := Pipeline{Name: block.Labels[0]}
		p.KeepPrevious, _ = take(o, "keep_previous", false)
		p.Isolate, _ = take(o, "isolate", false)
		for _, poll := range o.blocks["poll"] {
			l.poll(poll, &p)
		}
		labels := o.names("fetch")
		for _, expand := range o.blocks["expand"] {
			p.Expand = l.expand(expand, p.Source, labels)
		}
		l.expands = p.Expand != nil
		for _, fetch := range o.blocks["fetch"] {
			p.Fetches = append(p.Fetches, l.fetch(fetch, p.Source, labels))
		}
		l.cycles(p.Fetches, o.blocks["fetch"])
		for _, deliver := range o.blocks["deliver"] {
			p.Delivers = append(p.Delivers, l.deliver(deliver, labels, p.Isolate))
		}
		if ok && len(l.diags) == before {
			l.config.Pipelines = append(l.config.Pipelines, p)
		}
	}
}

func (l *loader) poll(o *object, p *Pipeline) {
	var ok bool
	if feed, given := o.attributes["feed"]; given {
		if p.Source, p.Feed = l.feedReference(feed.expr); p.Feed != "" {
			l.alone(feed.expr.Range(), p)
		}
	}
	p.Every = l.duration(o, "every", "", leastEvery, &ok)
	p.Overlap = l.duration(o, "overlap", defaultOverlap, 0, &ok)
	p.Timeout = l.duration(o, "timeout", defaultPollTimeout, time.Second, &ok)
	l.deletes(o, p)
	switch start, at := take(o, "start", defaultStart); start {
	case "now":
		p.Start.Now = true
	case "beginning":
	default:
		instant, err := time.Parse(time.RFC3339, start)
		if err != nil || instant.Before(time.Unix(0, 0)) {
			l.errorf(at, "Wrong value", `"start" is "now", "beginning" or an instant with its zone, such as "2026-01-31T08:00:00Z" or "2026-01-31T08:00:00-05:00".`)
		}
		p.Start.At = instant
	}
}

// alone refuses a second pipeline on a queue, as far as the adapter tells of its feeds without a source: each would take from the other.
func (l *loader) alone(at hcl.Range, p *Pipeline) {
	adapter, _, _ := strings.Cut(p.Source, ".")
	a := l.used[adapter]
	if a == nil || !slices.ContainsFunc(a.info.Feeds, func(f sdk.Feed) bool { return f.Name == p.Feed && f.Class == sdk.Queue }) {
		return
	}
	feed := p.Source + ".feed." + p.Feed
	if other := l.queues[feed]; other != "" {
		l.errorf(at, "Two readers of a queue", "Pipeline %q polls this feed already, and what one of them reads the other never gets. "+
			"To send each change to several places, give that pipeline several deliver blocks.", other)
		return
	}
	l.queues[feed] = p.Name
}

// deletes reads how deletes are inferred from scans.
func (l *loader) deletes(o *object, p *Pipeline) {
	confirm, at := take(o, "confirm", "")
	if p.Confirm = confirm; confirm != "" && p.Source != "" {
		l.part(at, p.Source, "resource", confirm)
	}
	p.MaxDeleted = defaultMaxDeleted
	share, at := take(o, "max_deleted", json.Number(""))
	if share == "" {
		return
	}
	if confirm == "" {
		l.errorf(at, "Missing attribute", `"max_deleted" has a meaning together with "confirm" only: without it no delete is inferred.`)
	}
	var err error
	if p.MaxDeleted, err = share.Float64(); err != nil || p.MaxDeleted < 0 || p.MaxDeleted > 1 {
		l.errorf(at, "Wrong value", `"max_deleted" is a share from 0 to 1: 0.1 is a tenth of all records.`)
	}
}

func (l *loader) expand(o *object, source string, labels []string) *Expand {
	x := &Expand{Name: o.labels[0]}
	var at hcl.Range
	if x.Resource, at = take(o, "from", x.Name); source != "" {
		l.part(at, source, "resource", x.Resource)
	}
	l.expands = false
	if id, given := o.attributes["id"]; given {
		var needs []string
		if x.ID, needs = l.compile(id.expr, labels, "", cty.String); len(needs) > 0 {
			l.errorf(id.expr.Range(), "Unknown name", "Nothing is fetched yet when a change is expanded: what an expand block can use is change.")
		}
	}
	for _, p := range []struct {
		name string
		into *[]string
	}{{"items", &x.Items}, {"key", &x.Key}, {"version", &x.Version}, {"time", &x.Time}} {
		path, at := take(o, p.name, "")
		if at == o.header || path == "" && p.name != "key" {
			continue
		}
		if *p.into = strings.Split(path, "."); slices.Contains(*p.into, "") {
			l.errorf(at, "Wrong value", "%q is a dotted path like data.orders.", p.name)
		}
	}
	return x
}

func (l *loader) fetch(o *object, source string, labels []string) Fetch {
	f := Fetch{Name: o.labels[0]}
	var at hcl.Range
	if f.Resource, at = take(o, "from", f.Name); source != "" {
		l.part(at, source, "resource", f.Resource)
	}
	for _, x := range []struct {
		name string
		want cty.Type
		into **Expr
	}{{"id", cty.String, &f.ID}, {"for_each", texts, &f.ForEach}, {"when", cty.Bool, &f.When}} {
		if a, given := o.attributes[x.name]; given {
			var needs []string
			*x.into, needs = l.compile(a.expr, labels, f.Name, x.want)
			f.Needs = append(f.Needs, needs...)
		}
	}
	slices.Sort(f.Needs)
	f.Needs = slices.Compact(f.Needs)
	_, one := o.attributes["id"]
	each, several := o.attributes["for_each"]
	switch {
	case !one && !several:
		l.errorf(o.header, "Missing attribute", `fetch %q needs "id", or "for_each" for several records.`, f.Name)
	case one && several:
		l.errorf(each.expr.Range(), "Conflicting attributes", `"id" asks for one record and "for_each" for several; a fetch takes one of them.`)
	}
	f.Optional, _ = take(o, "optional", false)
	f.OnMissing, at = take(o, "on_missing", "")
	switch {
	case f.OnMissing == "dead_letter" && f.Optional:
		l.errorf(at, "Conflicting attributes", `With "optional" nothing that is missing makes a dead letter; leave one of the two out.`)
	case f.OnMissing == "" && f.Optional:
		f.OnMissing = "deliver"
	case f.OnMissing == "":
		f.OnMissing = "dead_letter"
	}
	var ok bool
	f.Cache = l.duration(o, "cache", "", 0, &ok)
	return f
}

func (l *loader) deliver(o *object, labels []string, isolated bool) Deliver {
	d := Deliver{Name: o.labels[0]}
	if to, given := o.attributes["to"]; given {
		d.Destination = l.destinationReference(to.expr)
	}
	if script, at := take(o, "map", ""); script != "" {
		d.Script = absolute(l.dir, script)
		l.script(at, script, d.Script, isolated)
	} else if at != o.header {
		l.errorf(at, "Missing script", "The name of the script is empty.")
	}
	if name, at := take(o, "validate", ""); name != "" {
		d.Schema = l.schema(at, name)
	} else if at != o.header {
		l.errorf(at, "Missing schema", "The name of the schema is empty.")
	}
	if by, given := o.attributes["order_by"]; given {
		d.OrderBy, _ = l.compile(by.expr, labels, "", cty.String)
	}
	if filter, given := o.attributes["filter"]; given {
		d.Filter, _ = l.compile(filter.expr, labels, "", cty.Bool)
	}
	return d
}

// checked is a script that was checked.
type checked struct {
	path     string
	isolated bool
}

// script checks that a script is there and compiles.
func (l *loader) script(at hcl.Range, name, path string, isolated bool) {
	this := checked{path, isolated}
	problem, known := l.scripts[this]
	if !known {
		hint := func() string { return meant(filepath.Base(path), filesIn(filepath.Dir(path))) }
		if !l.file(at, "script", name, path, hint) || l.opts.CheckScript == nil {
			return
		}
		problem = l.opts.CheckScript(l.dir, path, isolated)
		l.scripts[this] = problem
	}
	if problem != nil {
		l.errorf(at, "Invalid script", "%s", sentence(problem.Error()))
	}
}

// schema checks that a schema is there and compiles. It gives the name of a shipped one as it is, and the absolute path of a file.
func (l *loader) schema(at hcl.Range, name string) string {
	shipped := slices.Contains(l.opts.Schemas, name)
	schema := name
	if !shipped {
		schema = absolute(l.dir, name)
	}
	problem, known := l.schemas[schema]
	if !known {
		hint := func() string {
			if files := filesIn(filepath.Dir(schema)); nearest(filepath.Base(schema), files) != "" {
				return meant(filepath.Base(schema), files)
			}
			return meantOr(name, l.opts.Schemas, "Without a file there are")
		}
		if !shipped && !l.file(at, "schema", name, schema, hint) {
			return ""
		}
		if l.opts.CheckSchema != nil {
			problem = l.opts.CheckSchema(l.dir, schema)
		}
		l.schemas[schema] = problem
	}
	if problem != nil {
		l.errorf(at, "Invalid schema", "%s", sentence(problem.Error()))
	}
	return schema
}

// file checks that a file is there.
func (l *loader) file(at hcl.Range, what, name, path string, hint func() string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(at, "Missing "+what, "There is no file %q. A relative path starts at the directory of the .hcl file.%s", name, hint())
	case err != nil:
		l.errorf(at, "Unreadable "+what, "The file %q can't be read: %s.", name, reason(err))
	case !info.Mode().IsRegular():
		l.errorf(at, "Unreadable "+what, "%q is not a file.", name)
	default:
		return true
	}
	return false
}

// cycles says which fetches wait for each other. Each cycle is said once, at the fetch that stands first.
func (l *loader) cycles(fetches []Fetch, objects []*object) {
	needs, at := map[string][]string{}, map[string]*object{}
	var order []string
	for i, f := range fetches {
		needs[f.Name], at[f.Name] = f.Needs, objects[i]
		order = append(order, f.Name)
	}
	for _, circle := range circles(needs, order) {
		first := circle[0]
		l.errorf(needing(at[first]), "Cycle between fetches",
			"Each of these fetches waits for what the next one fetched: %s.", strings.Join(append(circle, first), " → "))
	}
}

// needing is where a fetch says what it needs.
func needing(fetch *object) hcl.Range {
	for _, name := range []string{"id", "for_each", "when"} {
		if a, given := fetch.attributes[name]; given && len(uses(a.expr)) > 0 {
			return a.expr.Range()
		}
	}
	return fetch.header
}

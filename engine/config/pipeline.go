// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/rounds-engine/rounds/sdk/schema"
)

// The defaults of a poll block.
const (
	defaultOverlap     = 2 * time.Minute
	defaultPollTimeout = 2 * time.Minute
	leastEvery         = time.Second
)

var pipelineSchema = schema.Schema{Attributes: []schema.Attribute{
	{Name: "keep_previous", Type: schema.Bool, Doc: "keeps each record as it was committed, for context.previous of its next mapping"},
}, Blocks: []schema.Block{
	{Name: "poll", Required: true, Doc: "the feed and how often it is asked", Body: schema.Schema{Attributes: []schema.Attribute{
		{Name: "feed", Type: reference, Required: true, Doc: "the feed to ask, as source.ADAPTER.NAME.feed.FEED"},
		{Name: "every", Type: schema.Duration, Required: true, Doc: "how often the feed is polled"},
		{Name: "overlap", Type: schema.Duration, Doc: "how far before the last window is read again"},
		{Name: "start", Type: schema.String, Doc: `where a feed begins that was never read: "now", "beginning" or an instant`},
		{Name: "timeout", Type: schema.Duration, Doc: "time for one call to the source"},
	}}},
	{Name: "fetch", Labels: []string{"name"}, Repeated: true, Doc: "details of the record", Body: schema.Schema{Attributes: []schema.Attribute{
		{Name: "id", Type: expression, Required: true, Doc: "the identifier of what is fetched, an expression over change and fetched"},
	}}},
	{Name: "deliver", Labels: []string{"name"}, Repeated: true, Required: true, Doc: "a mapping and where it goes", Body: schema.Schema{Attributes: []schema.Attribute{
		{Name: "to", Type: reference, Required: true, Doc: "where notifications go, as destination.TYPE.NAME"},
		{Name: "map", Type: schema.String, Required: true, Doc: "the script that makes the notification, relative to the .hcl file"},
		{Name: "validate", Type: schema.String, Doc: "the JSON Schema that what the script returns has to be valid by: a model, or a file"},
		{Name: "order_by", Type: expression, Doc: "notifications with the same value arrive in order; the record's own id if it is not given"},
	}}},
}}

func (l *loader) pipelines() {
	for _, block := range l.of("pipeline") {
		o, ok := l.decode(block, pipelineSchema)
		before := len(l.diags)
		p := Pipeline{Name: block.Labels[0]}
		p.KeepPrevious, _ = take(o, "keep_previous", false)
		for _, poll := range o.blocks["poll"] {
			l.poll(poll, &p)
		}
		labels := o.names("fetch")
		for _, fetch := range o.blocks["fetch"] {
			p.Fetches = append(p.Fetches, l.fetch(fetch, p.Source, labels))
		}
		l.cycles(p.Fetches, o.blocks["fetch"])
		for _, deliver := range o.blocks["deliver"] {
			p.Delivers = append(p.Delivers, l.deliver(deliver, labels))
		}
		if ok && len(l.diags) == before {
			l.config.Pipelines = append(l.config.Pipelines, p)
		}
	}
}

func (l *loader) poll(o *object, p *Pipeline) {
	var ok bool
	if feed, given := o.attributes["feed"]; given {
		p.Source, p.Feed = l.feedReference(feed.expr)
	}
	p.Every = l.duration(o, "every", 0, leastEvery, &ok)
	p.Overlap = l.duration(o, "overlap", defaultOverlap, 0, &ok)
	p.Timeout = l.duration(o, "timeout", defaultPollTimeout, time.Second, &ok)
	switch start, at := take(o, "start", "now"); start {
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

func (l *loader) fetch(o *object, source string, labels []string) Fetch {
	f := Fetch{Name: o.labels[0], Resource: o.labels[0]}
	if source != "" {
		l.part(o.header, source, "resource", f.Resource)
	}
	if id, given := o.attributes["id"]; given {
		f.ID, f.Needs = l.compile(id.expr, labels, f.Name)
	}
	return f
}

func (l *loader) deliver(o *object, labels []string) Deliver {
	d := Deliver{Name: o.labels[0]}
	if to, given := o.attributes["to"]; given {
		d.Destination = l.destinationReference(to.expr)
	}
	if script, at := take(o, "map", ""); script != "" {
		d.Script = absolute(l.dir, script)
		l.script(at, script, d.Script)
	} else if at != o.header {
		l.errorf(at, "Missing script", "The name of the script is empty.")
	}
	if name, at := take(o, "validate", ""); name != "" {
		d.Schema = l.schema(at, name)
	} else if at != o.header {
		l.errorf(at, "Missing schema", "The name of the schema is empty.")
	}
	if by, given := o.attributes["order_by"]; given {
		d.OrderBy, _ = l.compile(by.expr, labels, "")
	}
	return d
}

// script checks that a script is there and compiles.
func (l *loader) script(at hcl.Range, name, path string) {
	hint := meant(filepath.Base(path), filesIn(filepath.Dir(path)))
	if !l.file(at, "script", name, path, hint) || l.opts.CheckScript == nil {
		return
	}
	problem, known := l.scripts[path]
	if !known {
		problem = l.opts.CheckScript(l.dir, path)
		l.scripts[path] = problem
	}
	if problem != nil {
		l.errorf(at, "Invalid script", "%s", sentence(problem.Error()))
	}
}

// schema checks that a schema is there and compiles. It gives the name of a shipped one as it is, and the absolute path of a file.
func (l *loader) schema(at hcl.Range, name string) string {
	schema := name
	if !slices.Contains(l.opts.Schemas, name) {
		schema = absolute(l.dir, name)
		hint := meantOr(name, l.opts.Schemas, "Without a file there are")
		if files := filesIn(filepath.Dir(schema)); nearest(filepath.Base(schema), files) != "" {
			hint = meant(filepath.Base(schema), files)
		}
		if !l.file(at, "schema", name, schema, hint) {
			return ""
		}
	}
	if l.opts.CheckSchema != nil {
		if problem := l.opts.CheckSchema(l.dir, schema); problem != nil {
			l.errorf(at, "Invalid schema", "%s", sentence(problem.Error()))
		}
	}
	return schema
}

// file checks that a file is there.
func (l *loader) file(at hcl.Range, what, name, path, hint string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(at, "Missing "+what, "There is no file %q. A relative path starts at the directory of the .hcl file.%s", name, hint)
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
	needs := map[string][]string{}
	for _, f := range fetches {
		needs[f.Name] = f.Needs
	}
	said := map[string]bool{}
	for i, f := range fetches {
		path := cycle(needs, []string{f.Name}, map[string]bool{})
		if path == nil || slices.ContainsFunc(path, func(name string) bool { return said[name] }) {
			continue
		}
		for _, name := range path {
			said[name] = true
		}
		l.errorf(objects[i].attributes["id"].expr.Range(), "Cycle between fetches",
			"Each of these fetches waits for what the next one fetched: %s.", strings.Join(append(path, f.Name), " → "))
	}
}

// cycle returns the way from the first of path back to it, or nil. Of what is seen already no way leads back.
func cycle(needs map[string][]string, path []string, seen map[string]bool) []string {
	for _, next := range needs[path[len(path)-1]] {
		if next == path[0] {
			return path
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if found := cycle(needs, append(path, next), seen); found != nil {
			return found
		}
	}
	return nil
}

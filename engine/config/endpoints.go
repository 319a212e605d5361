// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// adapters reads the adapter blocks.
func (l *loader) adapters() {
	for _, block := range l.of("adapter") {
		name := block.Labels[0]
		a := &adapter{Adapter: Adapter{Name: name}}
		l.used[name] = a
		o, ok := l.decode(block, adapterSchema)
		a.places = o.places()
		path, at := take(o, "path", "")
		sum, sumAt := take(o, "sha256", "")
		switch bundled := slices.Contains(l.opts.Bundled, name); {
		case bundled && (path != "" || sum != ""):
			l.errorf(block.LabelRanges[0], "Reserved name",
				"The adapter %q is bundled with rounds, so its block has neither path nor sha256. Give yours another name, or remove them.", name)
			ok = false
		case ok && path == "" && !bundled:
			l.errorf(at, "Missing path", "The adapter %q is not bundled with rounds: path says where its program is.", name)
			ok = false
		}
		limit, limitAt := take(o, "memory_limit", int64(0))
		if _, given := a.places["memory_limit"]; given && (limit < leastMemory || limit > mostMemory) {
			l.errorf(limitAt, "Wrong value", "memory_limit is in MiB, from %d to %d.", leastMemory, mostMemory)
			ok = false
		}
		a.Memory = limit
		if path != "" {
			a.Path = absolute(l.dir, path)
		}
		a.SHA256 = strings.ToLower(sum)
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 && sum != "" {
			l.errorf(sumAt, "Wrong value", "A SHA-256 has 64 hexadecimal digits, as sha256sum prints it.")
			ok = false
		}
		if !ok {
			a.failed = true
			continue
		}
		l.describe(a)
	}
}

// describe asks an adapter who it is and for its schema.
func (l *loader) describe(a *adapter) {
	var err error
	if a.info, a.schema, err = l.opts.Adapters.Describe(l.ctx, a.Adapter); err == nil {
		return
	}
	a.failed = true
	if _, ok := a.places["path"]; ok {
		a.places[""] = a.places["path"]
	}
	l.blame(err, "Unusable adapter", a.places)
}

// adapterOf returns the adapter that a source names; nil when there is none.
func (l *loader) adapterOf(block *hclsyntax.Block) *adapter {
	name := block.Labels[0]
	if a := l.used[name]; a != nil {
		return a
	}
	if slices.Contains(l.opts.Bundled, name) {
		a := &adapter{Adapter: Adapter{Name: name}, places: places{"": block.LabelRanges[0]}}
		l.used[name] = a
		l.describe(a)
		return a
	}
	if l.blocks["adapter."+name] == nil && len(l.broken) == 0 { // else it stands in a broken file, or may
		l.errorf(block.LabelRanges[0], "Unknown adapter", "No adapter %q is bundled, and no block adapter %q says where its program is.%s",
			name, name, meantOr(name, append(l.names("adapter."), l.opts.Bundled...), "Known are"))
	}
	return nil
}

func (l *loader) sources() {
	l.feeds = map[string]*object{}
	for _, block := range l.of("source") {
		a := l.adapterOf(block)
		if a == nil || a.failed {
			l.hide(block)
			continue
		}
		o, ok := l.decode(block, with(a.schema, sourceAttributes...))
		s := Source{Adapter: a.Adapter, Name: block.Labels[1]}
		s.Isolate, _ = take(o, "isolate", false)
		l.feeds[s.ID()] = o
		if !ok {
			continue
		}
		if s.Config, ok = l.encode(o); !ok {
			continue
		}
		if err := l.opts.Adapters.Validate(l.ctx, a.Adapter, s.Config); err != nil {
			l.blame(err, "Refused by the adapter", o.places())
			continue
		}
		l.config.Sources = append(l.config.Sources, s)
	}
}

func (l *loader) encode(o *object) ([]byte, bool) {
	raw, err := o.JSON()
	if err != nil { // not to be expected: all values were converted
		l.errorf(o.header, "Wrong value", "This block has a value that can't be written as JSON.")
	}
	return raw, err == nil
}

func (l *loader) destinations() {
	for _, block := range l.of("destination") {
		d := Destination{Type: block.Labels[0], Name: block.Labels[1]}
		s, known := l.opts.Destinations[d.Type]
		if !known {
			l.hide(block)
			l.errorf(block.LabelRanges[0], "Unknown destination", "There is no type of destination %q.%s", d.Type,
				meantOr(d.Type, keys(l.opts.Destinations), "The types are"))
			continue
		}
		o, ok := l.decode(block, with(s, destinationAttributes...))
		parallel, at := take(o, "parallel", int64(defaultParallel))
		if parallel < 1 || parallel > maxParallel {
			l.errorf(at, "Wrong value", "%q is from 1 to %d.", "parallel", maxParallel)
			ok = false
		}
		d.Parallel = int(parallel)
		d.OnReject, _ = take(o, "on_reject", defaultOnReject)
		d.Timeout = l.duration(o, "timeout", defaultSendTimeout, time.Second, &ok)
		if !ok {
			continue
		}
		if d.Config, ok = l.encode(o); !ok {
			continue
		}
		if check := l.opts.CheckDestination; check != nil {
			if err := check(d.Type, d.Config); err != nil {
				l.blame(err, "Refused by the destination", o.places())
				continue
			}
		}
		l.config.Destinations = append(l.config.Destinations, d)
	}
}

// duration takes a duration out of o and checks that it is not under least.
func (l *loader) duration(o *object, name, otherwise string, least time.Duration, ok *bool) time.Duration {
	text, at := take(o, name, otherwise)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least {
		l.errorf(at, "Wrong value", "%q is at least %s.", name, least)
		*ok = false
	}
	return d
}

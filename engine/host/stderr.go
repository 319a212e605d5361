// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	maxLine = 64 << 10 // of stderr; a longer one is not for the log
	maxRing = 64 << 10
)

// ring keeps the last bytes that were written to it.
type ring struct {
	mu   sync.Mutex
	data []byte
}

func (r *ring) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, b[max(0, len(b)-maxRing):]...)
	if len(r.data) > 2*maxRing { // seldom, so that most writes move nothing
		r.data = append(r.data[:0], r.data[len(r.data)-maxRing:]...)
	}
	return len(b), nil
}

func (r *ring) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.data[max(0, len(r.data)-maxRing):])
}

// bridge logs a line of stderr that has the form of hclog: that of sdk's logger, and of adapters in other languages. Anything
// else may hold anything, and is false.
func (p *process) bridge(line []byte) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if decoder.Decode(&members) != nil {
		return false
	}
	message, ok := members["@message"].(string)
	if !ok {
		return false
	}
	level, _ := members["@level"].(string)
	for _, known := range []string{"@message", "@level", "@timestamp"} {
		delete(members, known)
	}
	if own, ok := members[sdk.LogAttributes].(map[string]any); ok {
		members = own
	}
	message = p.secrets.in(message)
	p.logger.LogAttrs(context.Background(), levelNamed(level), message, p.attributes(members)...) //nolint:sloglint // the adapter's
	return true
}

func (p *process) attributes(members map[string]any) []slog.Attr {
	var attributes []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := slog.AnyValue(p.clean(members[name]))
		if group, ok := members[name].(map[string]any); ok {
			value = slog.GroupValue(p.attributes(group)...)
		}
		attributes = append(attributes, slog.Attr{Key: p.secrets.in(name), Value: value})
	}
	return attributes
}

// clean hides secrets in a JSON value.
func (p *process) clean(value any) any {
	switch v := value.(type) {
	case string:
		return p.secrets.in(v)
	case []any:
		for i := range v {
			v[i] = p.clean(v[i])
		}
	case map[string]any:
		cleaned := make(map[string]any, len(v))
		for name := range v {
			cleaned[p.secrets.in(name)] = p.clean(v[name])
		}
		return cleaned
	}
	return value
}

func levelNamed(name string) slog.Level {
	var level slog.Level
	switch {
	case strings.EqualFold(name, "trace"):
		return slog.LevelDebug
	case level.UnmarshalText([]byte(name)) != nil:
		return slog.LevelInfo
	}
	return level
}

// function is a line of a stack that the Go runtime prints when a program crashes, up to the arguments.
var function = regexp.MustCompile(`^([A-Za-z0-9_./*()\[\]·-]+)\([^()]*\)$`)

// crashed gives the innermost functions of the last crash that a program reported, "" if there was none: what may be logged
// of it, since the reason may quote a record.
func crashed(stderr []byte) string {
	at := bytes.LastIndex(stderr, []byte(" [running]:\n"))
	if at < 0 {
		return ""
	}
	var functions []string
	for line := range strings.Lines(string(stderr[at+len(" [running]:\n"):])) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || len(functions) == 5 {
			break
		}
		if m := function.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "runtime.") && m[1] != "panic" {
			functions = append(functions, m[1])
		}
	}
	return strings.Join(functions, " < ")
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/rounds-engine/rounds/sdk"
)

const maxLine = 64 << 10 // of stderr; a longer one is not for the log

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

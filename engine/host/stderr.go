// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rounds-engine/rounds/sdk"
)

const (
	maxLine = 64 << 10 // of stderr; a longer one is not for the log

	outputPerSecond = 4 << 20  // bytes that are read
	logPerSecond    = 64 << 10 // of that, bytes that are logged,
	logBurst        = 4 << 20  // after so many at once
)

// paced takes what an adapter writes only so fast: one that floods it waits, and takes no processor of the engine's.
type paced struct {
	to   io.Writer
	pace *rate.Limiter
}

func newPaced(to io.Writer) *paced { return &paced{to, rate.NewLimiter(outputPerSecond, maxLine)} }

func (p *paced) Write(b []byte) (int, error) {
	for part := range slices.Chunk(b, maxLine) {
		_ = p.pace.WaitN(context.Background(), len(part)) // it fails for more than the burst only
	}
	return p.to.Write(b)
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
	text, _ := members["@level"].(string)
	level := levelNamed(text)
	if !p.logger.Enabled(context.Background(), level) || p.logs.full(len(line), p.logger) {
		return true
	}
	for _, known := range []string{"@message", "@level", "@timestamp"} {
		delete(members, known)
	}
	if own, ok := members[sdk.LogAttributes].(map[string]any); ok {
		members = own
	}
	message = p.secrets.in(message)
	p.logger.LogAttrs(context.Background(), level, message, p.attributes(members)...) //nolint:sloglint // the adapter's
	return true
}

// logs bounds what an adapter writes into the log: one that logs in a loop must not fill the disk of the engine.
type logs struct {
	pace *rate.Limiter
	mu   sync.Mutex
	left int       // lines that were left out and not told of
	told time.Time // when that was done last
}

// full says that a line of so many bytes is one too many.
func (l *logs) full(size int, logger *slog.Logger) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := !l.pace.AllowN(time.Now(), size)
	if full {
		l.left++
	}
	if l.left > 0 && time.Since(l.told) >= time.Minute {
		logger.Warn("the adapter logs more than is taken; lines were left out", "lines", l.left)
		l.left, l.told = 0, time.Now()
	}
	return full
}

// attributes are those of a line. A group without any is left out, and one without a name gets one: slog's JSON is broken after a group of
// which it leaves out all there is.
func (p *process) attributes(members map[string]any) []slog.Attr {
	var attributes []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := slog.AnyValue(p.clean(members[name]))
		if group, ok := members[name].(map[string]any); ok {
			of := p.attributes(group)
			if len(of) == 0 {
				continue
			}
			value = slog.GroupValue(of...)
		}
		if name == "" {
			name = "unnamed"
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
	case json.Number:
		if shown := p.secrets.in(v.String()); shown != v.String() {
			return shown
		}
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

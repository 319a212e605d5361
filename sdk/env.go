// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"io"
	"log/slog"
)

// Env is what the engine gives to a source.
type Env struct {
	// Logger writes to the engine's log, at the engine's level. Log no record content, record ids or secrets; of an error
	// that is not an *Error only the type is logged.
	Logger *slog.Logger
	// Source is the source's name, "rest.clinic".
	Source string
	// State is what the source keeps over restarts, in sections: a rotated refresh token, a budget of calls, the id of a
	// subscription. It may be nil in a test, and then keeps nothing.
	State *State
}

// The variables that the engine sets for an adapter's process, besides those of go-plugin.
const (
	CookieVariable   = "ROUNDS_ADAPTER" // says that the process was started by an engine
	CookieValue      = "adapter-v1"
	LogLevelVariable = "ROUNDS_LOG_LEVEL" // as slog.Level reads it: what is below is not sent
)

// newLogger writes lines in the form of hclog, which the engine reads. The attributes stand in a group of their own, so that
// none of them can be taken for the line's time, level or message.
func newLogger(w io.Writer, level string) *slog.Logger {
	var least slog.Level
	if least.UnmarshalText([]byte(level)) != nil {
		least = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least, ReplaceAttr: logged}).WithGroup(LogAttributes))
}

// LogAttributes is the member of a log line that holds the attributes.
const LogAttributes = "attributes"

func logged(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.TimeKey:
			a.Key = "@timestamp"
		case slog.LevelKey:
			a.Key = "@level"
		case slog.MessageKey:
			a.Key = "@message"
		}
		return a
	}
	return loggedError(groups, a)
}

// loggedError withholds the text of errors that are not made here.
func loggedError(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(errorFromWire(errorToWire(err)).Error())
	}
	return a
}

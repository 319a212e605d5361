// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package script runs mappings: it compiles an ES module in JavaScript or TypeScript once, and calls its default export for
// each record. Package worker does the same in a process of its own, for scripts that the engine is to be safe from.
//
// Isolation. Each call gets a runtime of its own, made for it and dropped after it (making one costs about a microsecond:
// goja builds its intrinsics when they are first used). The module is evaluated anew in it. So there is no state that could
// survive a call, whatever a script does to its module variables, to globalThis or to the prototypes; nothing of one record
// can show up in the notification of another; and there is no pool to bound, since what runs at the same time is what the
// caller calls at the same time. What all calls share is the compiled program, which can't be changed.
//
// Determinism. A call's Date.now() and new Date() are Context.Now, the time zone is UTC whatever the host's is, for which the
// package makes it that of the process, and Math.random() is seeded from the record's kind, id and version: the same record mapped again gives the same notification.
//
// What a script can reach is the language (ES2022, without async generators, Intl and \p{…} in regular expressions), the
// modules beside it and the library "rounds/…". There is no console, no timer, no I/O. Code can't be made at run time: a direct eval
// is refused when the script is compiled, other means (new Function) when they are used.
//
// Limits. A call may take TimeLimit, nest calls to StackLimit and return OutputLimit bytes. What runs inside of the engine, such as a
// search in an array of billions, can't be stopped: such a call is abandoned, it fails and takes a processor until it ends by
// itself, and a script that leaves several of them behind is called no more. One match of a regular expression that backtracks ends
// soon after the time limit. Memory can't be limited in goja: a script that builds an endless array in its second takes the
// memory of the engine. JSON.parse and flat are bounded in depth, as else a text of a record could end the process by filling
// Go's stack. Scripts are configuration, to be trusted as far as not to do such things on purpose.
//
// Input. Numbers become JavaScript's numbers, except for those that a double can't hold: an integer beyond ±(2⁵³−1) and a
// number beyond the range arrive as strings of their digits, so that no id loses digits silently; JSON.parse and imported JSON
// do the same. Half a surrogate pair becomes U+FFFD, coming in and going out; going out as the name of a member it is an error.
//
// Errors. What fails in a script is an *Error, at the line and column of the author's own file. Its text holds no content
// of a record: a thrown message may quote one ("no such patient: Doe"), the engine's own messages too (names of members
// that were computed), so all messages are withheld, and what stays is the class (TypeError), the place and the cause that
// this package itself gives. Names of members in it are only those that the author wrote into the script. The whole
// message with the JavaScript stack is in Error.Detail, which is kept with a dead letter and never logged. Messages of the
// library "rounds/…" are made without content and are shown.
package script

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
	"github.com/go-sourcemap/sourcemap"

	"github.com/rounds-engine/rounds/engine/record"
)

// goja's Date is in the zone of the process.
func init() { time.Local = time.UTC }

// The limits of one call.
const (
	TimeLimit   = time.Second
	StackLimit  = 2000    // calls nested in one another
	OutputLimit = 4 << 20 // bytes of a notification's body
	DepthLimit  = 500     // objects nested in one another in what a script returns
)

// Grace is how long a call that was interrupted is waited for. A regular expression, whose match ends by itself, mostly ends in it.
const Grace = 2 * time.Second

var grace = Grace // but for tests

// A regular expression that backtracks does not see the runtime's interrupt, and goja takes one that timed out for one that
// did not match: it must end, and must not end before the call's own time is up, which then fails the call. The variable
// is read when a regular expression is compiled; goja is the only user of this package here.
func init() { regexp2.DefaultMatchTimeout = TimeLimit + time.Second }

// regexp2 takes its deadlines from a clock that a goroutine moves on, and that stops a second after the last deadline. Two
// matches that begin at once on a stopped clock race: one may get a deadline that is past already, and then "does not match".
// So each call sees to it that the clock has been running, and will be for longer than the call.
var clock struct {
	sync.Mutex
	wound time.Time
}

func windClock() error {
	clock.Lock()
	defer clock.Unlock()
	if now := time.Now(); now.Sub(clock.wound) > TimeLimit/2 {
		if _, err := anything().MatchString(""); err != nil {
			return err
		}
		clock.wound = now
	}
	return nil
}

var anything = sync.OnceValue(func() *regexp2.Regexp { return regexp2.MustCompile("") })

// Options of Compile.
type Options struct {
	// Root is the directory that imports may not leave, mostly that of the configuration. File names in errors are relative
	// to it. Empty: the directory of the script.
	Root string
	// Tables are context.tables, by name, and TableDefaults what a table has for keys that it does not name. They are not
	// changed afterwards.
	Tables        map[string]map[string]string
	TableDefaults map[string]string
	// Text is compiled in place of what the script's file holds, which stays as it is; nil: what it holds.
	Text *string
	// Check looks at what the mapping returned, before it is a notification; nil: it is not looked at. authors tells which names
	// are written in the script, and so are no content of a record.
	Check func(body []byte, authors func(name string) bool) *Refusal
}

// Refusal is why Options.Check refuses what a mapping returned.
type Refusal struct {
	Text   string // goes on "returned an object that …"; may be logged: no content of a record
	Detail string // never logged
}

// Context is what a mapping gets beside the record.
type Context struct {
	Pipeline string
	Source   string
	Deliver  string
	Now      time.Time
	Attempt  int            // 1 at the first
	Previous *record.Record // as last committed; nil: unknown
}

// Script is a compiled mapping, safe for use by many goroutines.
type Script struct {
	*Bundle
	program   *goja.Program
	shapes    []shape                       // of the literals of program
	plain     func() (*goja.Program, error) // program as it was written, for a script that changes what it is given
	positions *sourcemap.Consumer
	parses    bool         // JSON may be used
	flattens  bool         // Array.prototype.flat may be used
	converts  bool         // Dates, arrays and the like may have a toJSON of the author's
	hides     bool         // members may not be enumerable
	natives   bool         // the library may call the engine
	views     bool         // the code may be given views
	changes   atomic.Bool  // it changes what it is given, so that it is given no views
	export    position     // of the default export
	abandoned atomic.Int32 // calls that were given up and still run
}

// Place is that of the default export, as an error without a text.
func (s *Script) Place() Error { return *s.fail(s.export, "") }

// Map calls the mapping for a record. The body is the notification; a nil body without an error says that the mapping
// filtered the change out by returning null. The error is an *Error when the script or the record is to blame. It is that
// of ctx when ctx ended first, and an *sdk.Error when the script can't be called for now.
func (s *Script) Map(ctx context.Context, r *record.Record, c Context) ([]byte, error) {
	var body []byte
	err := s.run(ctx, c.Now, seed(r), func(k *call, export goja.Value) error {
		mapping, ok := goja.AssertFunction(export)
		if !ok { // it was one when the script was compiled: the module decides by the clock or by chance
			return s.fail(s.export, "the default export is not a function")
		}
		input, err := k.record(r)
		if err != nil {
			return err
		}
		result, err := mapping(goja.Undefined(), input, k.context(r, c))
		if err != nil {
			return err
		}
		body, err = k.output(result)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Accept(body, s.Place())
}

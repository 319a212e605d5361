// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// Error is a script that can't be compiled, or failed on a record.
type Error struct {
	File   string // relative to the root; "rounds/…" for a module of the library
	Line   int    // from 1
	Column int    // from 1, in characters; of what failed at run time in units of UTF-16, where 😀 is two
	Text   string // may be logged: no content of a record
	// TimedOut says that the call took too long and was stopped, which on a machine under load may befall any mapping once.
	TimedOut bool
	// Abandoned says that the call took too long and could not be stopped: it keeps a processor busy until it ends.
	Abandoned bool
	Detail    string // what was thrown and the JavaScript stack; may hold content of a record; never logged; bounded
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text) }

// position is a place in an author's file.
type position struct {
	file         string
	line, column int
	function     string
	library      bool // the file is a module of the library "rounds/…"
}

func (b *Bundle) fail(at position, text string) *Error {
	return &Error{File: at.file, Line: at.line, Column: at.column, Text: text}
}

// failed turns what a call ended with into an *Error.
func (k *call) failed(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var native *invalid
	if errors.As(err, &native) { // thrown by the library, whose messages are made without content
		return k.stopped(err, native.text)
	}
	var overflow *goja.StackOverflowError
	var exception *goja.Exception
	switch {
	case errors.As(err, &overflow):
		return k.stopped(err, fmt.Sprintf("calls are nested deeper than %d: a recursion without an end", StackLimit))
	case errors.As(err, &exception):
		return k.stopped(err, k.class(exception.Value())+" (the message is withheld, it may quote the record)")
	}
	return k.stopped(err, "the script engine failed; this is a defect of Rounds or of goja")
}

// timeUp is the error of a call that took too long; err is what it ended with, if it ended by itself.
func (k *call) timeUp(err error) *Error {
	e := k.stopped(err, fmt.Sprintf("took longer than the limit of %v; look for an endless loop or for a regular expression "+
		"that backtracks", TimeLimit))
	e.TimedOut = true
	return e
}

// stopped places text where the script was when it ended with err: at the author's innermost line, not at one in the
// library.
func (k *call) stopped(err error, text string) *Error {
	frames := k.script.frames(err)
	at := k.script.export
	for _, f := range frames {
		if !f.library {
			at = f
			break
		}
	}
	e := k.script.fail(at, text)
	e.Detail = k.detail(err, frames)
	return e
}

// classes are the names that may be shown of what was thrown. An author's own class is shown as the one it extends: its
// name is data.
var classes = []string{
	"TypeError", "RangeError", "ReferenceError", "SyntaxError", "URIError", "EvalError", "AggregateError", "Error",
}

func (k *call) class(thrown goja.Value) string {
	name := "a value that is not an Error was thrown"
	if object, ok := thrown.(*goja.Object); ok {
		_ = k.guarded(func() error { // a script may have broken the classes
			for _, c := range classes {
				if k.vm.InstanceOf(object, k.vm.Get(c).ToObject(k.vm)) {
					name = c
					break
				}
			}
			return nil
		})
	}
	return name
}

// frames is the JavaScript stack of err in the authors' files, innermost first.
func (s *Script) frames(err error) []position {
	var exception *goja.Exception
	var interrupted *goja.InterruptedError
	var overflow *goja.StackOverflowError
	var stack []goja.StackFrame
	switch {
	case errors.As(err, &interrupted):
		stack = interrupted.Stack()
	case errors.As(err, &overflow):
		stack = overflow.Stack()
	case errors.As(err, &exception):
		stack = exception.Stack()
	}
	var frames []position
	for i := range stack {
		if stack[i].SrcName() != bundleName {
			continue // native
		}
		p := stack[i].Position()
		if at, ok := s.author(p.Line, p.Column); ok {
			at.function = stack[i].FuncName()
			frames = append(frames, at)
		}
		if len(frames) == 50 {
			break
		}
	}
	return frames
}

// author maps a place in the generated code, line and column from 1, to the author's own file.
func (s *Script) author(line, col int) (position, bool) {
	file, _, line, col, ok := s.positions.Source(line, col-1)
	if !ok || file == "" || file == entryName {
		return position{}, false
	}
	file, library := strings.CutPrefix(file, libraryName+":")
	return position{file: path.Clean(file), line: line, column: col + 1, library: library}, true
}

// exportPosition finds the default export by its text, which goja keeps as it was generated.
func (s *Script) exportPosition(text string) position {
	if offset := strings.Index(s.Code, text); offset >= 0 && strings.Count(s.Code, text) == 1 {
		before := s.Code[:offset]
		at, ok := s.author(strings.Count(before, "\n")+1, offset-strings.LastIndexByte(before, '\n'))
		if ok && !at.library {
			return at
		}
	}
	return s.export
}

var lineAndColumn = regexp.MustCompile(`(?:SyntaxError: |` + regexp.QuoteMeta(bundleName) + `: )+|(?:Line | at ` +
	regexp.QuoteMeta(bundleName) + `:)(\d+):(\d+)`)

// syntaxError is an error of goja's parser, which names a place in the generated code.
func (s *Script) syntaxError(err error) *Error {
	at := s.export
	for _, m := range lineAndColumn.FindAllStringSubmatch(err.Error(), -1) {
		line, _ := strconv.Atoi(m[1]) // 0 where only the prefix matched
		col, _ := strconv.Atoi(m[2])
		if place, ok := s.author(line, col); ok {
			at = place
		}
	}
	text := strings.TrimSpace(lineAndColumn.ReplaceAllString(err.Error(), ""))
	return s.fail(at, "the script engine does not know this syntax: "+text)
}

// detailLimit bounds what a dead letter keeps of an error, in bytes.
const detailLimit = 8 << 10

func (k *call) detail(err error, frames []position) string {
	var b strings.Builder
	var exception *goja.Exception
	var interrupted *goja.InterruptedError
	var overflow *goja.StackOverflowError
	switch {
	case err == nil || errors.As(err, &interrupted) || errors.As(err, &overflow): // the text of both is of places in the generated code
	case errors.As(err, &exception):
		_ = k.guarded(func() error { // a thrown object's toString is the script's
			b.WriteString(exception.Value().String())
			return nil
		})
	default:
		b.WriteString(err.Error())
	}
	message := b.String()
	if len(message) > detailLimit/2 {
		message = cut(message, detailLimit/2) + "…"
	}
	b.Reset()
	b.WriteString(message)
	for _, f := range frames {
		fmt.Fprintf(&b, "\n    at %s (%s:%d:%d)", f.function, f.file, f.line, f.column)
	}
	return cut(b.String(), detailLimit)
}

// cut is the beginning of s, at most n bytes and no half character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

var word = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]*$`)

// isAuthors reports whether a member's name is written in the script, and so is not content of a record.
func (b *Bundle) isAuthors(name string) bool {
	return word.MatchString(name) && regexp.MustCompile(`(^|[^\w$])`+regexp.QuoteMeta(name)+`($|[^\w$])`).MatchString(b.Code)
}

// builtin are the tags of the engine's own kinds of objects, which may be shown.
var builtin = []string{"Promise", "Map", "Set", "WeakMap", "WeakSet", "Generator", "ArrayBuffer", "DataView", "Array Iterator",
	"Map Iterator", "Set Iterator", "String Iterator", "RegExp String Iterator", "BigInt", "Symbol", "Math", "JSON"}

// describe names the kind of a value, never the value. It may throw as a script's own code does.
func (k *call) describe(v goja.Value) string {
	switch {
	case v == nil || goja.IsUndefined(v):
		return "undefined"
	case goja.IsNull(v):
		return "null"
	case goja.IsString(v):
		return "a string"
	case goja.IsBigInt(v):
		return "a BigInt"
	case goja.IsNumber(v):
		return "a number"
	}
	object, ok := v.(*goja.Object)
	if !ok {
		if _, ok := v.(*goja.Symbol); ok {
			return "a symbol"
		}
		return "a boolean"
	}
	if _, ok := goja.AssertFunction(object); ok {
		return "a function"
	}
	switch class := object.ClassName(); class {
	case "Object", "Arguments":
	case "Array", "Error":
		return "an " + strings.ToLower(class)
	default:
		return "a " + class
	}
	switch tag := object.GetSymbol(goja.SymToStringTag); {
	case tag == nil || goja.IsUndefined(tag):
		return "an object"
	case tag.String() == "Promise":
		return "a promise"
	case slices.Contains(builtin, tag.String()):
		return "a " + tag.String()
	}
	return "not a plain object"
}

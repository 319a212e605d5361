// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// output makes the notification's body of what a mapping returned: the JSON that JSON.stringify would make, but for what
// that loses without a word (NaN becomes null there, a function or a Map disappears). It is nil for null.
func (k *call) output(result goja.Value) ([]byte, error) {
	w := writer{call: k, plain: k.vm.NewObject().Prototype(), out: make([]byte, 0, 2<<10)}
	if result = w.own(result, ""); w.err != nil {
		return nil, w.err
	}
	if goja.IsNull(result) {
		return nil, nil
	}
	if what := k.describe(result); what != "an object" {
		return nil, k.script.fail(k.script.export, "returned "+what+"; return an object, or null to filter the change out")
	}
	if w.value(result, nil); w.err != nil {
		return nil, w.err
	}
	return w.out, nil
}

// writer walks a value and writes it. It stops at the first error.
type writer struct {
	*call
	plain *goja.Object // prototype of plain objects
	out   []byte
	err   error
}

// step is the way from the result to a value: the members' names and indexes, and the objects that they are in.
type step struct {
	up     *step
	object *goja.Object // the object or array that this step leads out of
	name   string
	index  int // -1: a member
	depth  int
}

// fail says what is wrong with the value at a place.
func (w *writer) fail(at *step, what string) {
	if w.err != nil {
		return
	}
	path := w.path(at)
	if path == "" {
		path = "the result"
	}
	w.err = w.script.fail(w.script.export, "returned an object that can't be sent: "+path+" "+what)
}

// path is written with the script's own names; a name that isn't in the script may be content of the record.
func (w *writer) path(at *step) string {
	if at == nil {
		return ""
	}
	switch up := w.path(at.up); {
	case at.index >= 0:
		return up + "[" + strconv.Itoa(at.index) + "]"
	case !w.script.isAuthors(at.name):
		return up + "[…]"
	case up == "":
		return at.name
	default:
		return up + "." + at.name
	}
}

func (w *writer) value(v goja.Value, at *step) {
	if object, ok := v.(*goja.Object); ok {
		w.object(object, at)
	} else {
		w.primitive(v, at)
	}
	if w.err == nil && len(w.out) > OutputLimit {
		w.err = w.script.fail(w.script.export, fmt.Sprintf("returned more than the limit of %d MiB", OutputLimit>>20))
	}
}

func (w *writer) primitive(v goja.Value, at *step) {
	switch {
	case goja.IsNull(v):
		w.out = append(w.out, "null"...)
	case goja.IsString(v):
		w.string(v.String())
	case goja.IsNumber(v):
		if goja.IsNaN(v) || goja.IsInfinity(v) {
			w.fail(at, "is "+v.String())
			return
		}
		w.out = append(w.out, v.String()...)
	default:
		if b, ok := v.Export().(bool); ok {
			w.out = strconv.AppendBool(w.out, b)
			return
		}
		w.fail(at, "is "+w.describe(v)+", which JSON can't hold")
	}
}

func (w *writer) object(object *goja.Object, at *step) {
	depth := depthOf(at)
	for up := at; up != nil; up = up.up {
		if up.object == object {
			w.fail(at, "contains itself")
			return
		}
	}
	if depth > DepthLimit {
		w.err = w.script.fail(w.script.export, fmt.Sprintf("returned objects nested deeper than %d", DepthLimit))
		return
	}
	if _, ok := goja.AssertFunction(object); ok {
		w.fail(at, "is a function, which JSON can't hold")
		return
	}
	switch class := object.ClassName(); class {
	case "Array":
		w.array(object, at, depth)
	case "Object", "Arguments":
		w.plainOrClass(object, at, depth)
	case "Date":
		if object.Export() == nil {
			w.fail(at, "is an invalid Date")
			return
		}
		w.date(object, at)
	case "String": // new String("…")
		w.string(object.String())
	case "Number", "Boolean":
		w.value(w.vm.ToValue(object.Export()), at)
	default:
		w.fail(at, "is "+w.describe(object)+", which JSON can't hold")
	}
}

// date writes a Date in ISO's form, by the script's own method if it has changed it.
func (w *writer) date(object *goja.Object, at *step) {
	f, ok := goja.AssertFunction(object.Get("toISOString"))
	if !ok {
		w.fail(at, "has no toISOString")
		return
	}
	v, err := f(object)
	if err != nil {
		w.err = err
		return
	}
	w.value(v, &step{up: at, object: object, name: "toISOString", index: -1, depth: depthOf(at) + 1})
}

func depthOf(at *step) int {
	if at == nil {
		return 0
	}
	return at.depth
}

// own is what is written of a value: of what has a toJSON of the author's, what that returns. Plain objects have none.
func (w *writer) own(v goja.Value, name string) goja.Value {
	object, ok := v.(*goja.Object)
	if !ok {
		return v
	}
	if p := object.Prototype(); p == nil || p == w.plain {
		return v
	}
	switch class := object.ClassName(); {
	case class == "Object":
	case !w.script.converts, class == "Date" && object.Export() == nil: // an invalid Date is an error
		return v
	}
	toJSON, ok := goja.AssertFunction(object.Get("toJSON"))
	if !ok {
		return v
	}
	v, w.err = toJSON(object, w.vm.ToValue(name))
	return v
}

var proxyType = reflect.TypeFor[goja.Proxy]()

// plainOrClass writes an object of members, which may be an instance of an author's class.
func (w *writer) plainOrClass(object *goja.Object, at *step, depth int) {
	if p := object.Prototype(); p != nil && p != w.plain {
		if object.ExportType() == proxyType { // of an array or of a Date: it looks like an object from here
			w.fail(at, "is a Proxy, which JSON can't hold")
			return
		}
		if what := w.describe(object); what != "an object" { // a Map, of which JSON.stringify makes {}
			w.fail(at, "is "+what+", which JSON can't hold")
			return
		}
	}
	w.members(object, at, depth)
}

func (w *writer) members(object *goja.Object, at *step, depth int) {
	w.out = append(w.out, '{')
	first := true
	here := step{up: at, object: object, index: -1, depth: depth + 1}
	var replaced map[string]bool
	names, made := w.names(object)
	for i, name := range names {
		var v goja.Value
		if made != nil {
			v = made.values[i]
		} else {
			v = object.Get(name)
		}
		if strings.ContainsRune(name, utf8.RuneError) { // it may stand for half a surrogate pair, by which the member can't be asked for
			if v == nil || replaced[name] {
				here.name = name
				w.fail(&here, "is a member with half a surrogate pair for a name, which JSON can't hold")
				return
			}
			if replaced == nil {
				replaced = map[string]bool{}
			}
			replaced[name] = true
		}
		if v = w.own(v, name); w.err != nil {
			return
		}
		if v == nil || goja.IsUndefined(v) {
			continue
		}
		if !first {
			w.out = append(w.out, ',')
		}
		first = false
		w.string(name)
		w.out = append(w.out, ':')
		here.name = name
		if w.value(v, &here); w.err != nil {
			return
		}
	}
	w.out = append(w.out, '}')
}

// hiding finds, in a script's code, the means to make members that are not enumerable, or to get at those that the language has.
var hiding = regexp.MustCompile(`definePropert|__define|__proto__|rototype|\bcreate\b|arguments|Descriptor|Reflect|Proxy`)

// names are those of an object's members, whose values are those of made if a literal made it. To ask each whether it is enumerable costs
// as much again as to list them.
func (w *writer) names(object *goja.Object) (names []string, made *literal) {
	switch {
	case object.ExportType() == literalType:
		made = object.Export().(*literal)
		return made.Keys(), made
	case w.script.hides:
		return object.Keys(), nil
	}
	return object.GetOwnPropertyNames(), nil
}

func (w *writer) array(array *goja.Object, at *step, depth int) {
	w.out = append(w.out, '[')
	here := step{up: at, object: array, depth: depth + 1}
	length := int(array.Get("length").ToInteger())
	for i := range length {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		here.index = i
		name := strconv.Itoa(i)
		v := w.own(array.Get(name), name)
		if w.err != nil {
			return
		}
		if v == nil || goja.IsUndefined(v) { // a hole, too
			v = goja.Null()
		}
		if w.value(v, &here); w.err != nil {
			return
		}
	}
	w.out = append(w.out, ']')
}

const hex = "0123456789abcdef"

// string writes a JSON string in valid UTF-8.
func (w *writer) string(s string) {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	w.out = append(w.out, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		w.out = append(w.out, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			w.out = append(w.out, '\\', c)
		case '\b':
			w.out = append(w.out, `\b`...)
		case '\f':
			w.out = append(w.out, `\f`...)
		case '\n':
			w.out = append(w.out, `\n`...)
		case '\r':
			w.out = append(w.out, `\r`...)
		case '\t':
			w.out = append(w.out, `\t`...)
		default:
			w.out = append(w.out, `\u00`...)
			w.out = append(w.out, hex[c>>4], hex[c&15])
		}
	}
	w.out = append(w.out, s[from:]...)
	w.out = append(w.out, '"')
}

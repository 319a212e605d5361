// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// A mapping mostly reads a part of what a record has, and making JavaScript's objects of all of it takes longer than the mapping does.
// So the objects of a record are views, which make a member when it is read: *object of the record's text, *fields of what the engine
// has beside it. They are to a script what objects made at once are:
//
//   - A view can't be changed. A script that tries to is called once more, with objects made at once, and never again with views: a
//     call leaves nothing behind, so the first one was never made.
//   - What goja does with a view by itself, and not as with an object, is in no script that gets views: see unlike.
//   - A document that has a name which is not the same text in Go and in JavaScript (half a surrogate pair) has no views.

// unlike finds, in a script's code, the means by which a view or a literal could be told from an object made at once: they have no symbols,
// no private members and no accessors, can't be frozen, and goja looks for no cycle among the prototypes of theirs. A script that has one of
// them in its text, in whatever sense, gets neither; one that spells it in another way does so on purpose, and gets a TypeError.
var unlike = regexp.MustCompile(`Symbol|Reflect|Proxy|Descriptor|freeze|seal|preventExtensions|definePropert|setPrototypeOf|__proto__|` +
	`__define|__lookup`)

// canView reports whether a script of this code may be given views.
func canView(code string) bool {
	private := strings.Contains(code, "class") && strings.Contains(code, "#")
	return !unlike.MatchString(code) && !private
}

// change ends a call that would change a view, in a way that a script can't catch. The call is then made with objects made at once.
func (k *call) change() bool {
	k.changes = true
	panic(&goja.InterruptedError{})
}

// has reports whether a view has a member. Who asks for this one is about to set the prototype, mostly.
func (k *call) has(name string, has bool) bool {
	return has || name == "__proto__" && k.change()
}

// fields is a view of members that the engine knows by name.
type fields struct {
	*call
	names []string
	get   func(int) goja.Value
	made  []goja.Value
}

var _ goja.DynamicObject = (*fields)(nil)

// object makes an object of named members, as a view if it may.
func (k *call) object(names []string, get func(int) goja.Value) *goja.Object {
	if k.views && !slices.ContainsFunc(names, func(name string) bool { return isIndex(name) || !isText(name) }) {
		return k.vm.NewDynamicObject(&fields{call: k, names: names, get: get, made: make([]goja.Value, len(names))})
	}
	object := k.vm.NewObject()
	for i, name := range names {
		put(object, name, get(i))
	}
	return object
}

func (f *fields) Get(name string) goja.Value {
	i := slices.Index(f.names, name)
	if i < 0 {
		return nil
	}
	if f.made[i] == nil {
		f.made[i] = f.get(i)
	}
	return f.made[i]
}

func (f *fields) Has(name string) bool        { return f.has(name, slices.Contains(f.names, name)) }
func (f *fields) Keys() []string              { return f.names }
func (f *fields) Set(string, goja.Value) bool { return f.change() }
func (f *fields) Delete(name string) bool     { return !slices.Contains(f.names, name) || f.change() }

// document is a JSON document whose values are made when they are read.
type document struct {
	*call
	text  string
	nodes []node       // of all values, in the order of the text
	made  []goja.Value // objects and arrays that were read, which stay the same, and long texts
	value goja.Value   // the whole, if it was made at once
}

// node is a value of a document.
type node struct {
	name uint32 // where the quote before its name is, if it is a member
	at   uint32 // where it begins
	next uint32 // the node after it and all that is in it
	made uint32 // its place among made; 0: it has none
}

// whole is the value of the document.
func (d *document) whole() goja.Value {
	if d.value != nil {
		return d.value
	}
	return d.of(0)
}

// long is how long a text is that is kept once it was read: goja looks through it when it is used, and a script that reads it letter by
// letter would have it do so for each.
const long = 64

// of makes the value of a node.
func (d *document) of(i uint32) goja.Value {
	n := d.nodes[i]
	if n.made > 0 && d.made[n.made] != nil {
		return d.made[n.made]
	}
	var v goja.Value
	switch d.text[n.at] {
	case '{':
		v = d.vm.NewDynamicObject(&object{document: d, node: i})
	case '[':
		v = d.array(i)
	default:
		p := decoder{vm: d.vm, text: d.text, at: int(n.at)}
		v, _ = p.value(0) // was found to be one
	}
	if n.made > 0 {
		d.made[n.made] = v
	}
	return v
}

func (d *document) array(i uint32) *goja.Object {
	var length int
	for at := i + 1; at < d.nodes[i].next; at = d.nodes[at].next {
		length++
	}
	elements := make([]any, 0, length)
	for at := i + 1; at < d.nodes[i].next; at = d.nodes[at].next {
		elements = append(elements, d.of(at))
	}
	return d.vm.NewArray(elements...)
}

// object is a view of an object in a document. Of several members of one name the last one counts, at the place of the first.
type object struct {
	*document
	node  uint32
	index map[string]uint32 // the nodes of many members, by name
}

var _ goja.DynamicObject = (*object)(nil)

// few is how many members are found faster without an index.
const few = 32

// find is the node of a member; 0: there is none.
func (o *object) find(name string) uint32 {
	if o.index != nil {
		return o.index[name]
	}
	var found uint32
	members := 0
	for i := o.node + 1; i < o.nodes[o.node].next; i = o.nodes[i].next {
		rest := o.text[o.nodes[i].name+1:]
		if len(rest) > len(name) && rest[len(name)] == '"' && rest[:len(name)] == name && strings.IndexByte(name, '"') < 0 {
			found = i
		}
		members++
	}
	if members > few {
		o.index = make(map[string]uint32, members)
		for i := o.node + 1; i < o.nodes[o.node].next; i = o.nodes[i].next {
			o.index[o.name(i)] = i
		}
	}
	return found
}

// name is that of a member, which has no escapes.
func (d *document) name(i uint32) string {
	rest := d.text[d.nodes[i].name+1:]
	return rest[:strings.IndexByte(rest, '"')]
}

func (o *object) Get(name string) goja.Value {
	if i := o.find(name); i > 0 {
		return o.of(i)
	}
	return nil
}

func (o *object) Has(name string) bool        { return o.has(name, o.find(name) > 0) }
func (o *object) Set(string, goja.Value) bool { return o.change() }
func (o *object) Delete(name string) bool     { return o.find(name) == 0 || o.change() }

// Keys are in JavaScript's order: integers first, by their value.
func (o *object) Keys() []string {
	var names []string
	var seen map[string]bool
	indexes := 0
	for i := o.node + 1; i < o.nodes[o.node].next; i = o.nodes[i].next {
		name := o.name(i)
		if len(names) == few {
			seen = make(map[string]bool, 4*few)
			for _, name := range names {
				seen[name] = true
			}
		}
		if seen == nil && slices.Contains(names, name) || seen[name] {
			continue
		}
		if seen != nil {
			seen[name] = true
		}
		if isIndex(name) {
			indexes++
		}
		names = append(names, name)
	}
	if indexes > 0 {
		slices.SortStableFunc(names, func(a, b string) int {
			switch a, b := isIndex(a), isIndex(b); {
			case a && b:
				return 0
			case a:
				return -1
			case b:
				return 1
			}
			return 0
		})
		slices.SortFunc(names[:indexes], func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
	}
	return names
}

// isIndex reports whether a name is one of those integers that JavaScript puts first: up to 2³²−2.
func isIndex(name string) bool {
	if name == "" || name[0] < '0' || name[0] > '9' || name[0] == '0' && len(name) > 1 {
		return false
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return err == nil && n < math.MaxUint32
}

// isText reports whether a name is the same in UTF-8 and in UTF-16. A name that holds U+FFFD is not: it could stand for another.
func isText(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsRune(name, utf8.RuneError)
}

// view finds the values of a document without making them. It is nil for what is no JSON, and for what has names that views can't have.
func (k *call) view(text string) *document {
	if len(text) > math.MaxUint32/2 {
		return nil
	}
	d := decoder{text: text}
	doc := &document{call: k, text: text, nodes: make([]node, 0, min(strings.Count(text, ",")+strings.Count(text, "{")+1, len(text)/8+8))}
	var room [16]uint32
	open := room[:0] // objects and arrays that the reader is in
	made := uint32(0)
	name := uint32(0)
	for {
		d.space()
		if d.at == len(text) {
			return nil
		}
		i := uint32(len(doc.nodes))
		doc.nodes = append(doc.nodes, node{name: name, at: uint32(d.at), next: i + 1})
		enter := false
		switch c := text[d.at]; c {
		case '{', '[':
			made++
			doc.nodes[i].made = made
			d.at++
			if enter = !d.next(c + 2); enter { // ] and } come two after [ and {
				if open = append(open, i); len(open) > decodeDepth {
					return nil
				}
			}
		case '"':
			if !d.passString() {
				return nil
			}
			if d.at-int(doc.nodes[i].at) > long {
				made++
				doc.nodes[i].made = made
			}
		case 't':
			if !d.literal("true") {
				return nil
			}
		case 'f':
			if !d.literal("false") {
				return nil
			}
		case 'n':
			if !d.literal("null") {
				return nil
			}
		default:
			if _, ok := d.passNumber(); !ok {
				return nil
			}
		}
		for !enter {
			if len(open) == 0 {
				d.space()
				if d.at != len(text) {
					return nil
				}
				doc.made = make([]goja.Value, made+1)
				return doc
			}
			in := &doc.nodes[open[len(open)-1]]
			if d.next(text[in.at] + 2) {
				in.next = uint32(len(doc.nodes))
				open = open[:len(open)-1]
				continue
			}
			if !d.next(',') {
				return nil
			}
			enter = true
		}
		if text[doc.nodes[open[len(open)-1]].at] == '{' {
			d.space()
			name = uint32(d.at)
			if !d.passName() || !d.next(':') {
				return nil
			}
		}
	}
}

// passString passes a string, from its opening quote on.
func (d *decoder) passString() bool {
	for d.at++; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return true
		case c < ' ':
			return false
		case c != '\\':
		case d.at+1 < len(d.text) && d.text[d.at+1] == 'u':
			if _, ok := d.unit(); !ok {
				return false
			}
			d.at--
		default:
			if d.at++; d.at == len(d.text) || escapes[d.text[d.at]] == 0 {
				return false
			}
		}
	}
	return false
}

// passName passes the name of a member, if a view can have it.
func (d *decoder) passName() bool {
	if d.at == len(d.text) || d.text[d.at] != '"' {
		return false
	}
	start, ascii := d.at+1, true
	for d.at++; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return ascii || isText(d.text[start:d.at-1])
		case c < ' ' || c == '\\':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return false
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/dop251/goja"
)

// decoder makes JavaScript's values from JSON in one pass. goja's own JSON.parse goes through encoding/json's tokens, which
// takes nearly three times as long, and loses the digits of large integers.
type decoder struct {
	vm   *goja.Runtime
	text string // values of strings are parts of it where nothing is escaped
	at   int    // next byte to read; after a failure the byte that is wrong
}

// decodeDepth bounds the nesting of what is read, as encoding/json does.
const decodeDepth = 10000

// maxInteger is the largest integer that all integers up to are exact in a double.
const maxInteger = 1<<53 - 1

// document reads a value and nothing after it.
func (d *decoder) document() (goja.Value, bool) {
	v, ok := d.value(0)
	d.space()
	return v, ok && d.at == len(d.text)
}

func (d *decoder) value(depth int) (goja.Value, bool) {
	d.space()
	if d.at == len(d.text) || depth > decodeDepth {
		return nil, false
	}
	switch c := d.text[d.at]; c {
	case '{':
		return d.object(depth)
	case '[':
		return d.array(depth)
	case '"':
		s, ok := d.string()
		if !ok {
			return nil, false
		}
		return d.vm.ToValue(s), true
	case 't':
		return d.vm.ToValue(true), d.literal("true")
	case 'f':
		return d.vm.ToValue(false), d.literal("false")
	case 'n':
		return goja.Null(), d.literal("null")
	default:
		return d.number()
	}
}

func (d *decoder) object(depth int) (goja.Value, bool) {
	object := d.vm.NewObject()
	d.at++
	if d.next('}') {
		return object, true
	}
	for {
		d.space()
		if d.at == len(d.text) || d.text[d.at] != '"' {
			return nil, false
		}
		name, ok := d.string()
		if !ok || !d.next(':') {
			return nil, false
		}
		v, ok := d.value(depth + 1)
		if !ok {
			return nil, false
		}
		put(object, name, v)
		if d.next('}') {
			return object, true
		}
		if !d.next(',') {
			return nil, false
		}
	}
}

// put sets a member of an object of ours, which can't fail. Setting __proto__ in the plain way would set the prototype.
func put(object *goja.Object, name string, v goja.Value) {
	if name == "__proto__" {
		_ = object.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
		return
	}
	_ = object.Set(name, v)
}

func (d *decoder) array(depth int) (goja.Value, bool) {
	var items []any
	d.at++
	if d.next(']') {
		return d.vm.NewArray(), true
	}
	for {
		v, ok := d.value(depth + 1)
		if !ok {
			return nil, false
		}
		items = append(items, v)
		if d.next(']') {
			return d.vm.NewArray(items...), true
		}
		if !d.next(',') {
			return nil, false
		}
	}
}

// number reads a number. One that a double can't hold stays a string of its digits.
func (d *decoder) number() (goja.Value, bool) {
	start := d.at
	integer, ok := d.passNumber()
	if !ok {
		return nil, false
	}
	text := d.text[start:d.at]
	if integer && text != "-0" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > maxInteger || n < -maxInteger {
			return d.vm.ToValue(text), true
		}
		return d.vm.ToValue(n), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return d.vm.ToValue(text), true
	}
	return d.vm.ToValue(f), true
}

// passNumber passes a number, and reports whether it has neither a fraction nor an exponent.
func (d *decoder) passNumber() (integer, ok bool) {
	d.skip('-')
	if !d.skip('0') && !d.digits() {
		return false, false
	}
	integer = true
	if d.skip('.') {
		integer = false
		if !d.digits() {
			return false, false
		}
	}
	if d.skip('e') || d.skip('E') {
		integer = false
		if !d.skip('+') {
			d.skip('-')
		}
		if !d.digits() {
			return false, false
		}
	}
	return integer, true
}

func (d *decoder) digits() bool {
	start := d.at
	for d.at < len(d.text) && d.text[d.at] >= '0' && d.text[d.at] <= '9' {
		d.at++
	}
	return d.at > start
}

func (d *decoder) skip(c byte) bool {
	if d.at < len(d.text) && d.text[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *decoder) space() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// next skips white space, and c if it comes next.
func (d *decoder) next(c byte) bool {
	d.space()
	return d.skip(c)
}

func (d *decoder) literal(word string) bool {
	if !strings.HasPrefix(d.text[d.at:], word) {
		return false
	}
	d.at += len(word)
	return true
}

// string reads a string, from its opening quote on.
func (d *decoder) string() (string, bool) {
	d.at++
	for i := d.at; i < len(d.text); i++ {
		switch c := d.text[i]; {
		case c == '"':
			s := d.text[d.at:i]
			d.at = i + 1
			return s, true
		case c == '\\':
			return d.escaped(i)
		case c < ' ':
			d.at = i
			return "", false
		}
	}
	d.at = len(d.text)
	return "", false
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escaped reads a string whose first escape is at i.
func (d *decoder) escaped(i int) (string, bool) {
	b := append(make([]byte, 0, i-d.at+64), d.text[d.at:i]...)
	for d.at = i; d.at < len(d.text); {
		c := d.text[d.at]
		switch {
		case c == '"':
			d.at++
			return string(b), true
		case c < ' ':
			return "", false
		case c != '\\':
			b = append(b, c)
			d.at++
		case d.at+1 < len(d.text) && d.text[d.at+1] == 'u':
			r, ok := d.unit()
			if !ok {
				return "", false
			}
			if utf16.IsSurrogate(r) {
				after := d.at
				if second, ok := d.unit(); ok && utf16.DecodeRune(r, second) != '\uFFFD' {
					r = utf16.DecodeRune(r, second)
				} else {
					d.at = after
					r = '\uFFFD'
				}
			}
			b = append(b, string(r)...)
		default:
			if d.at+1 == len(d.text) || escapes[d.text[d.at+1]] == 0 {
				return "", false
			}
			b = append(b, escapes[d.text[d.at+1]])
			d.at += 2
		}
	}
	return "", false
}

// unit reads \uXXXX.
func (d *decoder) unit() (rune, bool) {
	if len(d.text)-d.at < 6 || d.text[d.at:d.at+2] != `\u` {
		return 0, false
	}
	var r rune
	for _, c := range []byte(d.text[d.at+2 : d.at+6]) {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	d.at += 6
	return r, true
}

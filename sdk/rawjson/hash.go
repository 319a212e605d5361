// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rawjson

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
)

// Hash is a hash of what doc says, however it is written: white space, the order of members and escapes in strings do not
// count. The digits of numbers do (1.0 is not 1), since whether they are the same is the server's business.
// It is a SHA-256 truncated to 16 bytes.
func Hash(doc []byte) [16]byte { return HashWithout(doc, nil) }

// Paths are places in a document, made by ParsePaths.
type Paths [][]string

// ParsePaths reads dotted paths. A step names the member of an object. An array is passed through: the path goes on in each
// of its elements.
func ParsePaths(dotted []string) Paths {
	var p Paths
	for _, path := range dotted {
		p = append(p, strings.Split(path, "."))
	}
	return p
}

// HashWithout is the Hash of doc without what stands at some paths.
func HashWithout(doc []byte, without Paths) [16]byte {
	c := pool.Get().(*canon)
	defer pool.Put(c)
	c.out, c.members = c.out[:0], c.members[:0]
	c.value(trim(doc), without)
	sum := sha256.Sum256(c.out)
	return [16]byte(sum[:16])
}

// The buffers of one Hash are used again by the next; the pool gives them back to the collector when there is no use.
var pool = sync.Pool{New: func() any { return new(canon) }}

type member struct {
	key   []byte
	value []byte
}

type canon struct {
	out     []byte
	members []member
}

// below gives where the paths go on in a member, and whether one of them ends there. The key is raw, quotes included.
func (p Paths) below(key []byte) (rest Paths, ends bool) {
	for _, path := range p {
		switch {
		case !keyIs(key, path[0]):
		case len(path) == 1:
			return nil, true
		default:
			rest = append(rest, path[1:])
		}
	}
	return rest, false
}

func (c *canon) value(raw []byte, without Paths) {
	if len(raw) == 0 {
		return
	}
	switch raw[0] {
	case '{':
		c.object(raw, without)
	case '[':
		c.out = append(c.out, '[')
		for v := range Elements(raw) {
			c.value(v, without)
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, ']')
	case '"':
		c.text(raw)
	default:
		c.out = append(c.out, raw...)
	}
}

func (c *canon) object(raw []byte, without Paths) {
	first := len(c.members)
	for key, value := range members(raw) {
		m := member{key: key, value: value}
		if bytes.IndexByte(key, '\\') >= 0 {
			name, _ := unquote(key)
			m.key = appendText(nil, name)
		}
		c.members = append(c.members, m)
	}
	slices.SortStableFunc(c.members[first:], func(a, b member) int {
		return bytes.Compare(a.key, b.key)
	})
	c.out = append(c.out, '{')
	// The values are walked by index: a nested object grows the slice behind these and cuts it again.
	last := len(c.members)
	for i := first; i < last; i++ {
		if i+1 < last && bytes.Equal(c.members[i].key, c.members[i+1].key) {
			continue // the last of one name counts
		}
		rest, ends := without.below(c.members[i].key)
		if ends {
			continue
		}
		c.out = append(c.out, c.members[i].key...)
		c.out = append(c.out, ':')
		c.value(c.members[i].value, rest)
		c.out = append(c.out, ',')
	}
	c.out = append(c.out, '}')
	c.members = c.members[:first]
}

func (c *canon) text(raw []byte) {
	if bytes.IndexByte(raw, '\\') < 0 {
		c.out = append(c.out, raw...)
		return
	}
	s, _ := unquote(raw)
	c.out = appendText(c.out, s)
}

// appendText writes s as a JSON string with no escapes but those that JSON demands, as most servers write it.
func appendText(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := range len(s) {
		switch b := s[i]; {
		case b == '"' || b == '\\':
			out = append(out, '\\', b)
		case b < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default:
			out = append(out, b)
		}
	}
	return append(out, '"')
}

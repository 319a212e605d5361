// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rounds-engine/rounds/scripts"
)

// What another process says of a script is checked here: a script that broke out of the language there could say anything.

// IsNotification reports whether a body is one that Map could have made: a JSON object within the limits, on one line.
func IsNotification(body []byte) bool {
	if len(body) < 2 || body[0] != '{' || len(body) > OutputLimit || !utf8.Valid(body) {
		return false
	}
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c < ' ':
			return false
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > DepthLimit+1 {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return json.Valid(body)
}

// Foreign gives what another process says of a call of the script, with nothing in it that a call here could not have said. Had it no
// record yet, its text may be any: it quotes the script at the most.
//
// Invariant 6: the text is made of this package's own words, the author's and numbers; what was thrown stays in Detail.
func (b *Bundle) Foreign(e Error, hadRecords bool) *Error {
	if !slices.Contains(b.names, e.File) || e.Line < 1 || e.Column < 1 || max(e.Line, e.Column) > len(b.Code)+len(b.Positions) {
		e.File, e.Line, e.Column = b.Name, 1, 1
	}
	e.Text = cut(strings.ToValidUTF8(e.Text, "\uFFFD"), textLimit)
	if hadRecords && !b.sayable(e.Text) {
		e.Text = "failed (what its worker says of that is withheld)"
	}
	e.Detail = cut(strings.ToValidUTF8(e.Detail, "\uFFFD"), detailLimit)
	return &e
}

// textLimit bounds what another process says.
const textLimit = 4 << 10

// token is a word of a message, with the signs between it and the next one. A longer number could be an identifier.
var token = regexp.MustCompile(`[A-Za-z_$][A-Za-z0-9_$]*|[0-9]{1,9}|[^A-Za-z0-9_$]+`)

// sayable reports whether a text holds only words that this package or the library has in its messages, or that the author has
// written into the script, and numbers.
func (b *Bundle) sayable(text string) bool {
	at := 0
	for _, span := range token.FindAllStringIndex(text, -1) {
		if span[0] != at {
			return false
		}
		at = span[1]
		switch t := text[span[0]:span[1]]; {
		case '0' <= t[0] && t[0] <= '9':
			if at < len(text) && '0' <= text[at] && text[at] <= '9' {
				return false
			}
		case word.MatchString(t):
			if !slices.Contains(said(), t) && !b.isAuthors(t) {
				return false
			}
		default:
			for _, r := range t {
				if !strings.ContainsRune(signs, r) {
					return false
				}
			}
		}
	}
	return at == len(text)
}

// signs are what stands between words in messages.
const signs = " .,:;()[]{}…'\"`/\\|+-=<>*?!#@%&^~"

// said are the words of all messages, sorted.
var said = sync.OnceValue(func() []string {
	texts := messages + strings.Join(classes, " ") + " " + strings.Join(builtin, " ")
	_ = fs.WalkDir(scripts.FS, ".", func(path string, _ fs.DirEntry, err error) error { // embedded: nothing of it can fail
		if err == nil && strings.HasSuffix(path, ".js") {
			text, _ := fs.ReadFile(scripts.FS, path)
			texts += " " + string(text)
		}
		return err
	})
	words := regexp.MustCompile(`[A-Za-z_$][A-Za-z0-9_$]*`).FindAllString(texts, -1)
	slices.Sort(words)
	return slices.Compact(words)
})

// messages are the words of this package's messages of calls. A test compares them with the source.
const messages = `
a abbreviation absolute after America an and are array as async at backtracks be beside boolean busy by byte called calls can change class
code configuration configured contains context correct data Date deeper default defect directory earlier end ended endless ends environment
ES eval expression failed fetched file files filter for Function generator give gives goja half have hold imports in Infinity instead invalid is
it itself Jan js JSON keeps know large layouts leave library limit Line long longer look looked loop make many map mapping matches matching
may mean member metafile MiB milliseconds modules Mon more MST name NaN nested nests new New_York no No not nothing number object objects of offset
once one or other outside packages panic pair parent paths plain processor promise Proxy quote read reads record recursion regular require
restart result returned returns reviver rid run s scripts sent shorter source string such surrogate symbol syntax t T15 takes target than that the
them there this thrown to toISOString took top up URLs valid var very wait was with withheld write yet Z error RegExp Number Boolean Promise
`

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
)

const (
	maxOutput = 8 << 20 // bytes of output that are kept
	maxValues = 4000    // values that are looked for
)

// watch sees all that an adapter says, and knows what it must not say.
type watch struct {
	canary string // begins each of the kit's own

	mu      sync.Mutex
	calls   int
	said    []said
	output  []byte
	dropped bool              // some of the output
	secrets map[string]string // what must never be said, and what it is
	content map[string]string
	codes   map[string]map[string]int // how often a place in the records has a value
	common  string                    // what is public: names in the schema and the configuration
}

// said is a text and who said it.
type said struct{ where, text string }

type replyKey struct{}

// onWire has the reply of a call kept as it came, before anything is made sure of.
func onWire(ctx context.Context, reply *proto.Message) context.Context {
	return context.WithValue(ctx, replyKey{}, reply)
}

// tap is in the way of all calls.
func (w *watch) tap(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
	err := call(ctx, method, req, reply, conn, o...)
	name := method[strings.LastIndexByte(method, '/')+1:]
	if to, ok := ctx.Value(replyKey{}).(*proto.Message); ok {
		*to, _ = reply.(proto.Message)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	add := func(where string, e *pb.Error) {
		if e != nil {
			w.said = append(w.said, said{where, e.GetText()}, said{where, e.GetPath()})
		}
	}
	if err != nil {
		s := status.Convert(err)
		w.said = append(w.said, said{"the status of " + name, s.Message()})
		for _, detail := range s.Details() {
			if e, ok := detail.(*pb.Error); ok {
				add("the error of "+name, e)
			}
		}
	}
	switch r := reply.(type) {
	case *pb.PollResponse:
		for _, c := range r.GetChanges() {
			add("the error of a change", c.GetError())
		}
		for _, c := range r.GetIncluded() {
			add("the error of an included result", c.GetError())
		}
		for _, n := range r.GetNotes() {
			w.said = append(w.said, said{"a note", n.GetText()}, said{"a note's code", n.GetCode()})
		}
	case *pb.FetchResponse:
		for _, c := range r.GetResults() {
			add("the error of a result", c.GetError())
		}
	}
	return err
}

// Write takes what the adapter writes.
func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := b[:min(len(b), maxOutput-len(w.output))]
	w.output = append(w.output, kept...)
	w.dropped = w.dropped || len(kept) < len(b)
	return len(b), nil
}

// minSecret is the length from which on the engine, too, hides a secret.
const minSecret = 4

// hide makes a value a secret, in each form in which it may be said.
func (w *watch) hide(value, what string) {
	if len(value) < minSecret || strings.EqualFold(value, "true") || strings.EqualFold(value, "false") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.secrets) >= maxValues {
		return
	}
	for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value))} {
		if _, ok := w.secrets[form]; !ok {
			w.secrets[form] = what
		}
	}
}

// heard takes the credentials from a request.
func (w *watch) heard(r *http.Request) {
	for _, v := range r.Header.Values("Authorization") {
		if _, credentials, ok := strings.Cut(v, " "); ok {
			w.hide(credentials, "what the Authorization header carries")
		}
	}
	for _, c := range r.Cookies() {
		w.hide(c.Value, "a cookie")
	}
}

// answered takes from an answer what it must not say.
func (w *watch) answered(r *http.Response, body []byte) {
	for _, c := range r.Cookies() {
		w.hide(c.Value, "a cookie")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) != nil {
		return
	}
	if members, ok := doc.(map[string]any); ok {
		token := false
		for _, name := range []string{"access_token", "refresh_token", "id_token", "token"} {
			if v, ok := members[name].(string); ok {
				w.hide(v, "a token that the EHR gave")
				token = true
			}
		}
		if token {
			return
		}
	}
	w.record(doc)
}

// record takes the texts of a record.
func (w *watch) record(doc any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaves(doc, "")
}

func (w *watch) leaves(v any, at string) {
	switch v := v.(type) {
	case string:
		w.leaf(v, at)
	case json.Number:
		if len(v) > 5 { // what is shorter may be anybody's
			w.leaf(v.String(), at)
		}
	case []any:
		for i := range v {
			w.leaves(v[i], at)
		}
	case map[string]any:
		for name := range v {
			w.leaves(v[name], at+"."+name)
		}
	}
}

// What is no one's in particular: a code, a word of the API.
var (
	code      = regexp.MustCompile(`^[a-z_.:/-]*$|^[A-Z_-]*$`)
	statusish = regexp.MustCompile(`^[1-5][0-9][0-9]$`)
)

// leaf takes a text of a record, if it is long enough to tell something and not that of a code.
func (w *watch) leaf(text, at string) {
	if len(text) < 5 || len(text) > 200 || code.MatchString(text) || strings.Contains(text, w.canary) {
		return
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return // bounds of windows, which may be logged, look the same
	}
	if strings.Contains(text, "://") {
		return // an address of the API
	}
	values := w.codes[at]
	if values == nil {
		values = map[string]int{}
		w.codes[at] = values
	}
	if len(values) < maxValues {
		values[text]++
	}
	if _, ok := w.content[text]; !ok && len(w.content) < maxValues {
		w.content[text] = "a text of a record (" + strings.TrimPrefix(at, ".") + ")"
	}
}

// id takes the identifier of a record.
func (w *watch) id(ref sdk.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(ref.ID) >= minSecret && !statusish.MatchString(ref.ID) {
		w.content[ref.ID] = "the identifier of a record of kind " + ref.Kind
	}
}

// leaks tells what was said of what must not be.
func (w *watch) leaks(secret bool) (found []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	values := map[string]string{}
	if secret {
		values = maps.Clone(w.secrets)
	} else {
		for text, what := range w.content {
			if !w.isCommon(text, what) {
				values[text] = what
			}
		}
	}
	texts := slices.Clone(w.said)
	for line := range strings.Lines(string(w.output)) {
		texts = append(texts, said{"a line on stderr or stdout", strings.TrimSpace(line)})
	}
	// Most values are nowhere: each is looked for once in all, and only the few that are found in each text.
	var all strings.Builder
	for _, s := range texts {
		all.WriteString(s.text)
		all.WriteByte('\n')
	}
	maps.DeleteFunc(values, func(value, _ string) bool { return !strings.Contains(all.String(), value) })
	seen := map[string]bool{}
	for _, s := range texts {
		if s.text == "" {
			continue
		}
		what, at := "", ""
		if i := strings.Index(s.text, w.canary); i >= 0 && strings.HasPrefix(s.text[i:], w.canary+"secret") == secret {
			what, at = "a value that the kit planted "+planted(s.text[i+len(w.canary):]), w.canary
		}
		for value, is := range values {
			if what == "" && contains(s.text, value, !secret || len(value) < 2*minSecret) {
				what, at = is, value
			}
		}
		if what == "" {
			continue
		}
		finding := fmt.Sprintf("%s holds %s: %s", s.where, what, w.masked(s.text, at))
		if !seen[s.where+what] {
			seen[s.where+what] = true
			found = append(found, finding)
		}
	}
	return found
}

// planted says where the kit planted a value, by the word behind its canary.
func planted(rest string) string {
	word := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
		word = rest[:end]
	}
	switch word {
	case "secret":
		return "in the place of a sensitive attribute"
	case "header":
		return "in a header of an answer"
	case "record":
		return "in a record"
	case "id":
		return "as an identifier"
	}
	return "in the body of an answer"
}

// isCommon says that a text tells of nobody: it stands in the schema or the configuration, or has the same place in many records.
func (w *watch) isCommon(text, what string) bool {
	if strings.Contains(w.common, strings.ToLower(text)) {
		return true
	}
	if strings.HasPrefix(what, "the identifier") {
		return false
	}
	for _, values := range w.codes {
		if n := values[text]; n >= 3 && len(values) <= max(n/2, 1) {
			return true
		}
	}
	return false
}

// masked is a text that may be shown: without all that must not be said.
func (w *watch) masked(text, value string) string {
	if value == w.canary {
		text = regexp.MustCompile(regexp.QuoteMeta(value)+`[A-Za-z0-9-]*`).ReplaceAllString(text, "[…]")
	}
	text = strings.ReplaceAll(text, value, "[…]")
	for v := range w.secrets {
		text = strings.ReplaceAll(text, v, "[…]")
	}
	for v, what := range w.content {
		if !w.isCommon(v, what) {
			text = strings.ReplaceAll(text, v, "[…]")
		}
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

// contains says whether a text holds a value, as a whole word if wanted.
func contains(text, value string, whole bool) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], value)
		if i < 0 {
			return false
		}
		i += at
		end := i + len(value)
		if !whole || (i == 0 || !letterOrDigit(text[i-1])) && (end == len(text) || !letterOrDigit(text[end])) {
			return true
		}
		at = i + 1
	}
}

// shown is an error of the adapter as it may be shown in a report.
func (w *watch) shown(err error) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.masked(err.Error(), w.canary)
}

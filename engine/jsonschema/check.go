// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package jsonschema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Invalid says why a notification is not as its schema wants it.
type Invalid struct {
	Text   string // may be logged: where and which rule, no value
	Detail string // with values; never logged; bounded
}

const (
	shownProblems = 3       // in a text
	detailLimit   = 8 << 10 // bytes
)

// Check checks a notification. authors tells which names of members are the author's own words; those that are neither his nor the
// schema's may be content of the record, and are not shown. It is nil when the notification is valid.
func (s *Schema) Check(body []byte, authors func(name string) bool) *Invalid {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return &Invalid{Text: "is not JSON"}
	}
	err = s.schema.Validate(doc)
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
		return &Invalid{Text: "could not be checked by " + s.name}
	}
	known := func(name string) bool { return s.names[name] || authors(name) }
	detail := strings.ToValidUTF8(invalid.Error(), "")
	if len(detail) > detailLimit {
		detail = strings.ToValidUTF8(detail[:detailLimit], "")
	}
	return &Invalid{Text: fmt.Sprintf("is not valid by %s: %s", s.name, summary(invalid, doc, known)), Detail: detail}
}

// summary names the first few places and rules.
func summary(e *jsonschema.ValidationError, doc any, known func(string) bool) string {
	var problems []string
	for _, leaf := range leaves(e) {
		problems = append(problems, pointer(doc, leaf.InstanceLocation, known)+" "+rule(leaf.ErrorKind, known))
	}
	slices.Sort(problems)
	problems = slices.Compact(problems)
	more := ""
	if n := len(problems) - shownProblems; n > 0 {
		problems, more = problems[:shownProblems], fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(problems, "; ") + more
}

// leaves are the rules that were broken, not those that only hold others. Of alternatives none of which fits, nobody knows which was
// meant.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.PropertyNames:
		return []*jsonschema.ValidationError{e}
	}
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	return all
}

const hidden = "…"

// pointer is a JSON pointer (RFC 6901) into doc, with the names that may be shown; all of them if doc is nil. An index is no content; a number that names a
// member may be an id.
func pointer(doc any, steps []string, known func(string) bool) string {
	if len(steps) == 0 {
		return "the whole"
	}
	var b strings.Builder
	for _, step := range steps {
		switch at := doc.(type) {
		case []any:
			doc = nil
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(at) {
				doc = at[i]
			}
		case map[string]any:
			doc = at[step]
			if !known(step) {
				step = hidden
			}
		}
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return b.String()
}

// rule is the keyword that was broken, with what the schema wants where that is short. It holds nothing of the value.
func rule(k jsonschema.ErrorKind, known func(string) bool) string {
	switch k := k.(type) {
	case *kind.Type:
		return "type: must be " + strings.Join(k.Want, " or ")
	case *kind.Required:
		return "required: " + strings.Join(k.Missing, ", ") + " missing"
	case *kind.DependentRequired:
		return "dependentRequired: " + strings.Join(k.Missing, ", ") + " missing"
	case *kind.AdditionalProperties:
		return "additionalProperties: there is no " + names(k.Properties, known)
	case *kind.Enum:
		return "enum" + wanted(k.Want)
	case *kind.Const:
		return "const" + wanted([]any{k.Want})
	case *kind.Format:
		return "format: must be " + k.Want
	case *kind.Pattern:
		return "pattern: must match " + k.Want
	case *kind.MinItems:
		return fmt.Sprintf("minItems: at least %d", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("maxItems: at most %d", k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("minLength: at least %d", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("maxLength: at most %d", k.Want)
	case *kind.FalseSchema:
		return "is not allowed"
	}
	path := k.KeywordPath()
	if len(path) == 0 {
		return "is not valid"
	}
	return path[0] // what follows names members
}

func names(list []string, known func(string) bool) string {
	var shown []string
	for _, name := range list {
		if !known(name) {
			name = hidden
		}
		shown = append(shown, name)
	}
	slices.Sort(shown)
	return strings.Join(slices.Compact(shown), ", ")
}

// wanted lists what a schema allows, if it is text and not much.
func wanted(values []any) string {
	const most = 12
	var list []string
	for _, v := range values {
		switch v := v.(type) {
		case string:
			list = append(list, strconv.Quote(v))
		case nil:
			list = append(list, "null")
		default:
			return ""
		}
	}
	if len(list) > most {
		return ""
	}
	return ": must be " + cmp.Or(strings.Join(list, " or "), "nothing")
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Markdown gives a table of the attributes and blocks, for a reference. What is in the blocks has tables of its own.
func (s Schema) Markdown() string {
	head := "attribute"
	switch {
	case len(s.Attributes) == 0:
		head = "block"
	case len(s.Blocks) > 0:
		head = "attribute or block"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | type | default | |\n|---|---|---|---|\n", head)
	row := func(cells ...string) {
		fmt.Fprintf(&b, "| %s |\n", strings.ReplaceAll(strings.Join(cells, " | "), "  ", " "))
	}
	for _, a := range s.Attributes {
		row("`"+a.Name+"`", a.kind(), a.preset(), MarkdownCell(a.Doc))
	}
	for _, block := range s.Blocks {
		typ, preset := "block", ""
		if block.Repeated {
			typ = "blocks"
		}
		if block.Required {
			preset = "required"
		}
		row("`"+block.Title()+"`", typ, preset, MarkdownCell(block.Doc))
	}
	return b.String()
}

// Title is a block as it is written, with what its labels are: feed "NAME".
func (b Block) Title() string {
	title := b.Name
	for _, label := range b.Labels {
		title += " " + strconv.Quote(strings.ToUpper(label))
	}
	return title
}

// kind is the type of an attribute, or the values that it may have.
func (a Attribute) kind() string {
	kind := string(a.Type)
	for i, v := range a.Values {
		if i == 0 {
			kind = ""
		} else if kind += ", "; i == len(a.Values)-1 {
			kind = strings.TrimSuffix(kind, ", ") + " or "
		}
		kind += "`" + strconv.Quote(v) + "`"
	}
	if a.Sensitive {
		kind += ", sensitive"
	}
	return kind
}

// preset is what an attribute is when it is not given.
func (a Attribute) preset() string {
	switch {
	case a.Required:
		return "required"
	case a.Default == "" && a.Type == Bool:
		return "`false`"
	case a.Default == "":
		return ""
	case a.Type == String || a.Type == Duration:
		return "`" + strconv.Quote(a.Default) + "`"
	}
	return "`" + a.Default + "`"
}

// verbatim is what in a text is written so in a configuration, or is an address.
var verbatim = regexp.MustCompile(`"[^"]*"|\{\w+\}|https?://[^\s,;]*[^\s,;.]|\b[A-Za-z]+(?:[./_][A-Za-z_]+)+\b|\bwhsec_`)

// MarkdownCell is a text as a cell of a table, with what is written verbatim in a configuration set off.
func MarkdownCell(text string) string {
	return strings.ReplaceAll(verbatim.ReplaceAllString(text, "`$0`"), "|", `\|`)
}

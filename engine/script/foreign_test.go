// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/script"
)

// The words that may stand in what a worker says of a call are those of this package's messages.
func TestInvariant6TheWordsOfMessagesAreKnown(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	verb := regexp.MustCompile(`%[a-z]`)
	found := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "foreign.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, " ") && !strings.Contains(text, "\\") {
					for _, w := range regexp.MustCompile(`[A-Za-z_$][A-Za-z0-9_$]*`).FindAllString(verb.ReplaceAllString(text, " "), -1) {
						found[w] = true
					}
				}
			}
			return true
		})
	}
	missing := slices.DeleteFunc(slices.Sorted(maps.Keys(found)), func(w string) bool { return slices.Contains(script.Said(), w) })
	if len(found) < 100 || len(missing) > 0 {
		t.Errorf("%d words are in messages, of which these are not known:\n%s", len(found), strings.Join(missing, " "))
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/sdk/schema"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

//go:generate go test . -run TestGeneratedPartsAreUpToDate -update

var update = flag.Bool("update", false, "write the generated parts of the pages")

// schemas are the blocks that the engine, the bundled adapters and the destinations describe, by path.
func schemas(t *testing.T) map[string]schema.Schema {
	t.Helper()
	all := map[string]schema.Schema{}
	var add func(path string, s schema.Schema)
	add = func(path string, s schema.Schema) {
		if len(s.Attributes)+len(s.Blocks) > 0 {
			all[path] = s
		}
		for _, b := range s.Blocks {
			add(path+"."+b.Name, b.Body)
		}
	}
	for name, s := range config.Schemas() {
		add(name, s)
	}
	for typ, s := range destination.Schemas() {
		add("destination."+typ, s)
	}
	for name, adapter := range bundled {
		s, err := schema.Of(adapter.config)
		if err != nil {
			t.Fatal(err)
		}
		add(name, s)
	}
	return all
}

// described is the table of a schema, between two comments of which the first names it.
var described = regexp.MustCompile(`(?ms)^<!-- schema: (\S+) -->\n.*?^<!-- end -->$`)

// describe gives the text that has to stand there.
func describe(path string, s schema.Schema) string {
	return "<!-- schema: " + path + " -->\n\n" + s.Markdown() + "\n<!-- end -->"
}

// ruled is the table of the conformance kit's rules.
var ruled = regexp.MustCompile(`(?ms)^<!-- rules -->\n.*?^<!-- end -->$`)

// rules gives the text that has to stand there.
func rules() string {
	var b strings.Builder
	b.WriteString("<!-- rules -->\n\n| rule | what is promised | if it fails |\n|---|---|---|\n")
	for _, r := range sdktest.Rules() {
		b.WriteString("| `" + r.Name + "` | " + r.Promise + " | " + r.Advice + " |\n")
	}
	return b.String() + "\n<!-- end -->"
}

// shown is a file that stands on a page, below a comment that names it.
var shown = regexp.MustCompile("(?ms)^<!-- file: (\\S+) -->\n+```\\w*\n.*?^```$")

// show gives the text that has to stand there. The two lines of the licence are left out.
func show(t *testing.T, page, part string) string {
	t.Helper()
	file := shown.FindStringSubmatch(part)[1]
	text := read(t, filepath.Join(filepath.Dir(page), file))
	if _, rest, ok := strings.Cut(text, "SPDX-License-Identifier: Apache-2.0\n\n"); ok {
		text = rest
	}
	return "<!-- file: " + file + " -->\n\n```" + strings.TrimPrefix(filepath.Ext(file), ".") + "\n" + text + "```"
}

func TestGeneratedPartsAreUpToDate(t *testing.T) {
	all := schemas(t)
	for page, text := range pages(t) {
		want := described.ReplaceAllStringFunc(text, func(part string) string {
			path := described.FindStringSubmatch(part)[1]
			s, ok := all[path]
			if !ok {
				t.Errorf("%s: there is no schema %s", page, path)
			}
			return describe(path, s)
		})
		want = ruled.ReplaceAllLiteralString(want, rules())
		want = shown.ReplaceAllStringFunc(want, func(part string) string { return show(t, page, part) })
		if want == text {
			continue
		}
		if !*update {
			t.Errorf("%s is not what it is generated from; run go generate ./docs", page)
			continue
		}
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Error(err)
		}
	}
}

func TestThereIsATableOfEachBlock(t *testing.T) {
	var named []string
	for page, text := range pages(t) {
		for _, m := range described.FindAllStringSubmatch(text, -1) {
			named = append(named, m[1])
			if adapter, own := strings.CutPrefix(page, "adapters/"); own && !strings.HasPrefix(m[1]+".", strings.TrimSuffix(adapter, "md")) {
				t.Errorf("%s has the table of %s", page, m[1])
			}
		}
	}
	slices.Sort(named)
	if want := slices.Sorted(maps.Keys(schemas(t))); !slices.Equal(named, want) {
		t.Errorf("there are tables of\n%s\nwant\n%s", strings.Join(named, "\n"), strings.Join(want, "\n"))
	}
	for path, s := range schemas(t) {
		for _, a := range s.Attributes {
			if a.Doc == "" {
				t.Errorf("%s.%s: nothing says what it means", path, a.Name)
			}
		}
		for _, b := range s.Blocks {
			if b.Doc == "" {
				t.Errorf("%s.%s: nothing says what it means", path, b.Name)
			}
		}
	}
}

func TestTheCookbookShowsEachRecipe(t *testing.T) {
	files, err := filepath.Glob("../examples/cookbook/*/*")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range shown.FindAllStringSubmatch(read(t, "rest-cookbook.md"), -1) {
		named = append(named, m[1])
	}
	slices.Sort(named)
	if len(files) < 20 || !slices.Equal(named, files) {
		t.Errorf("the page shows\n%s\nthere are\n%s", strings.Join(named, "\n"), strings.Join(files, "\n"))
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

//go:generate go test . -run TestGeneratedPartsAreUpToDate -update

var update = flag.Bool("update", false, "write the generated parts of the pages")

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
	for page, text := range pages(t) {
		want := shown.ReplaceAllStringFunc(text, func(part string) string { return show(t, page, part) })
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

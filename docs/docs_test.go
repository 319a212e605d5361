// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test holds README.md and the pages here to the code. The examples of hcl-reference.md and scripts.md are run
// by the tests of engine/config and engine/script, those of rest-cookbook.md by the tests of cmd/rounds.
package docs_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/plugins/couchdb"
	"github.com/rounds-engine/rounds/plugins/openmrs"
	"github.com/rounds-engine/rounds/plugins/orthanc"
	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
	adapterpb "github.com/rounds-engine/rounds/sdk/proto"
)

// bundled are the adapters that the configurations are checked with.
var bundled = map[string]struct {
	serve  func()
	config any
}{
	"athenahealth": {athenahealth.Serve, athenahealth.Config{}},
	"couchdb":      {couchdb.Serve, couchdb.Config{}},
	"openmrs":      {openmrs.Serve, openmrs.Config{}},
	"orthanc":      {orthanc.Serve, orthanc.Config{}},
	"rest":         {rest.Serve, rest.Config{}},
}

// The test's binary is also the bundled adapters.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "adapter" && bundled[os.Args[2]].serve != nil {
		bundled[os.Args[2]].serve()
		return
	}
	os.Exit(m.Run())
}

const example = "../examples/adapter-minimal"

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pages gives the text of README.md and of all pages here, by path.
func pages(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	adapters, err := filepath.Glob("adapters/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range append(append(names, adapters...), "../README.md", "../CHANGELOG.md", "../SECURITY.md", example+"/README.md") {
		all[name] = read(t, name)
	}
	return all
}

// blocks gives the fenced blocks of one kind.
func blocks(text, kind string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	code    = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
)

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	examples, err := filepath.Glob("../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range examples {
		all[page] = read(t, page)
	}
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s does not exist", page, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
}

// anchors gives the names of a page's headings, as GitHub makes them.
func anchors(text string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		names = append(names, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return names
}

// A configuration that has a pipeline is whole: it must be valid as it stands, with the page's own script if it shows one,
// else that of the example.
func TestWholeConfigurationsAreValid(t *testing.T) {
	dir := t.TempDir()
	build(t, example, filepath.Join(dir, "adapter-minimal"))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for page, text := range pages(t) {
		if page == "hcl-reference.md" || page == "scripts.md" || page == "rest-cookbook.md" {
			continue
		}
		for i, block := range append(blocks(text, "hcl"), stored(t, page)...) {
			if !strings.Contains(block, "\npipeline \"") {
				continue
			}
			n++
			for _, m := range regexp.MustCompile(`env\("(\w+)"\)`).FindAllStringSubmatch(block, -1) {
				t.Setenv(m[1], "https://receiver.example")
			}
			for _, m := range regexp.MustCompile(`secret\("(\w+)"\)`).FindAllStringSubmatch(block, -1) {
				write(t, filepath.Join(dir, m[1]), "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
			}
			script := read(t, example+"/appointment.js")
			if shown := blocks(text, "js"); len(shown) > 0 {
				script = shown[0]
			}
			for _, m := range regexp.MustCompile(`map += "([\w.]+)"`).FindAllStringSubmatch(block, -1) {
				write(t, filepath.Join(dir, m[1]), script)
			}
			path := filepath.Join(dir, "main.hcl")
			write(t, path, block)
			e := engine.New(engine.Options{Bundled: []string{exe, "adapter"}, Adapters: slices.Sorted(maps.Keys(bundled))})
			_, files, diags := e.Load(t.Context(), path)
			if len(diags) > 0 {
				var out strings.Builder
				if err := config.WriteDiagnostics(&out, files, diags, false, 0); err != nil {
					t.Error(err)
				}
				t.Errorf("%s, configuration %d:\n%s", page, i+1, &out)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if n < 3 {
		t.Errorf("only %d configurations found", n)
	}
}

// stored gives the configurations that stand in files beside a page.
func stored(t testing.TB, page string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(page), "*.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, file := range files {
		texts = append(texts, read(t, file))
	}
	return texts
}

func build(t testing.TB, dir, binary string) {
	t.Helper()
	c := exec.Command("go", "build", "-o", binary, ".")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A block of Go is a whole file, which must compile, or an excerpt of a file that does.
func TestGoOfTheAdapterGuideIsReal(t *testing.T) {
	var sources []string
	for _, path := range []string{example + "/main.go", "../sdk/sdk.go"} {
		sources = append(sources, plain(read(t, path)))
	}
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// The files look to the go command as if they stood in packages below this one.
	overlay := map[string]string{}
	packages := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	shown := "\n"
	for i, block := range blocks(read(t, "adapters.md"), "go") {
		if strings.HasPrefix(block, "package ") {
			name := fmt.Sprintf("block%d", i)
			file := filepath.Join(dir, name+".go")
			write(t, file, block)
			overlay[filepath.Join(here, name, "block.go")] = file
			packages = append(packages, "./"+name)
			continue
		}
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, plain(block)) }) {
			t.Errorf("this is not in %s, nor in sdk.go:\n%s", example, block)
		}
		shown += plain(block)[1:]
	}
	// The guide says that it shows all of the example.
	_, body, _ := strings.Cut(plain(read(t, example+"/main.go")), "\n)\n")
	if !strings.Contains(shown, body) {
		t.Error("the guide does not show all of the example, in its order")
	}
	if len(overlay) == 0 {
		t.Error("no whole file found")
	}
	replaced, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), string(replaced))
	if out, err := exec.Command("go", packages...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command("gofmt", "-l", dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("not formatted: %s %v", out, err)
	}
}

// plain is Go without comments and indentation.
func plain(source string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(source) {
		line = regexp.MustCompile(`(^|\s)//.*`).ReplaceAllString(strings.TrimSpace(line), "")
		if words := strings.Fields(line); len(words) > 0 {
			b.WriteString(strings.Join(words, " ") + "\n")
		}
	}
	return b.String()
}

// What the page on the protocol lists is all that there is.
func TestTheProtocolPageIsComplete(t *testing.T) {
	text := read(t, "adapter-protocol.md")
	for _, m := range adapterpb.Adapter_ServiceDesc.Methods {
		if !strings.Contains(text, "\n| `"+m.MethodName+"` |") {
			t.Errorf("there is no row for the call %s", m.MethodName)
		}
	}
	for _, m := range adapterpb.Adapter_ServiceDesc.Streams {
		if !strings.Contains(text, "\n| `"+m.StreamName+"` |") {
			t.Errorf("there is no row for the stream %s", m.StreamName)
		}
	}
	listed := func(path, pattern string) (names []string) {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(read(t, path))
		if found == nil {
			t.Fatalf("%s has another form than expected", path)
		}
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(found[1], -1) {
			names = append(names, m[1])
		}
		return names
	}
	variables := append(listed("../engine/host/env.go", `(?s)var passed = \[\]string\{(.*?)\n\}`),
		listed("../engine/host/env.go", `var windows = \[\]string\{(.*)\}`)...)
	for _, name := range slices.Concat(variables, listed("../sdk/errors.go", `(?s)const \(\n(.*?)\n\)`),
		listed("../sdk/schema/schema.go", `(?s)// The types\.\nconst \(\n(.*?)\n\)`), []string{sdk.CookieVariable, sdk.CookieValue, sdk.LogLevelVariable}) {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s is not on the page", name)
		}
	}
	for _, figure := range []string{fmt.Sprintf("%d MiB", sdk.MaxMessage>>20), fmt.Sprintf("the version of the protocol, and %d is the only one", sdk.ProtocolVersion)} {
		if !strings.Contains(text, figure) {
			t.Errorf("%q is not on the page", figure)
		}
	}
}

// The tables of operations.md have a message in the first cell, in which … stands for what differs or is left out; where the
// second cell is a level, it is a message of the log.
func TestMessagesOfTheOperationsPageAreInTheSource(t *testing.T) {
	texts, logged := messages(t)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+)?.*$")
	n := 0
	for _, section := range strings.Split(read(t, "operations.md"), "\n## ") {
		if !strings.HasPrefix(section, "The log\n") {
			continue
		}
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			n++
			text, level := m[1], m[2]
			pattern := strings.ReplaceAll(regexp.QuoteMeta(text), "…", "(?s:.*)")
			in, isLevel := logged[level]
			if isLevel {
				pattern = "^" + pattern + "$" // the whole message
			} else {
				in = texts
			}
			if !slices.ContainsFunc(in, regexp.MustCompile(pattern).MatchString) {
				t.Errorf("%q is not in the source (level %q)", text, level)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d messages found", n)
	}
}

// messages gives all texts of the source, those that stand in parts put together, and the log messages by level.
func messages(t testing.TB) (texts []string, logged map[string][]string) {
	t.Helper()
	logged = map[string][]string{}
	levels := map[string]string{"Info": "INFO", "Warn": "WARN", "Error": "ERROR"}
	for _, dir := range []string{"../engine", "../sdk", "../plugins", "../cmd/rounds"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if x, ok := n.(ast.Expr); ok {
					if text, ok := constant(x); ok {
						texts = append(texts, text)
					}
				}
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				f, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if text, ok := constant(call.Args[0]); ok && levels[f.Sel.Name] != "" {
					logged[levels[f.Sel.Name]] = append(logged[levels[f.Sel.Name]], text)
				}
				// What is logged at a level that depends: the message comes after context and level.
				if (f.Sel.Name == "Log" || f.Sel.Name == "log") && len(call.Args) > 2 {
					if text, ok := constant(call.Args[2]); ok {
						for _, level := range levels {
							logged[level] = append(logged[level], text)
						}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts, logged
}

// constant is the text of a literal, or of several that are added.
func constant(x ast.Expr) (string, bool) {
	switch x := x.(type) {
	case *ast.BasicLit:
		if x.Kind == token.STRING {
			text, err := strconv.Unquote(x.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		left, ok1 := constant(x.X)
		right, ok2 := constant(x.Y)
		return left + right, ok1 && ok2 && x.Op == token.ADD
	}
	return "", false
}

// TestTheTestsThatThePagesNameAreThere, as a promise that names its proof is worth no more than that.
func TestTheTestsThatThePagesNameAreThere(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, "_test.go") {
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(read(t, path), -1) {
				there[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllStringSubmatch(text, -1) {
			named++
			if !there[m[1]] {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d tests are named", named)
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// restConfig has every type of attribute and every form of block.
type restConfig struct {
	BaseURL   string        `hcl:"base_url" doc:"URL that all paths are appended to."`
	Timeout   time.Duration `hcl:"timeout,optional"`
	Auth      *auth         `hcl:"auth,block"`
	Limits    *limits       `hcl:"limits,block"`
	Feeds     []feed        `hcl:"feed,block"`
	Resources []resource    `hcl:"resource,block"`
}

type auth struct {
	Kind     string `hcl:"kind,label"`
	Token    string `hcl:"token,optional,sensitive"`
	Username string `hcl:"username,optional"`
	Password string `hcl:"password,optional,sensitive"`
}

type limits struct {
	Concurrency int     `hcl:"concurrency,optional"`
	PerSecond   float64 `hcl:"per_second,optional"`
}

type feed struct {
	Name    string            `hcl:"name,label"`
	Path    string            `hcl:"path"`
	ID      string            `hcl:"id" doc:"Path of the identifier in an item."`
	Version string            `hcl:"version,optional"`
	Time    string            `hcl:"time,optional"`
	Class   string            `hcl:"class,optional" values:"timestamp,scan"`
	Ignore  []string          `hcl:"ignore,optional"`
	Query   map[string]string `hcl:"query,optional"`
	Headers map[string]string `hcl:"headers,optional"`
	Body    json.RawMessage   `hcl:"body,optional"`
	Since   *since            `hcl:"since,block"`
}

type since struct {
	Format string `hcl:"format,optional"`
	Zone   string `hcl:"zone,optional"`
}

type resource struct {
	Name string `hcl:"name,label"`
	Path string `hcl:"path"`
}

type webhookConfig struct {
	URL            string   `hcl:"url"`
	SigningSecrets []string `hcl:"signing_secrets,optional,sensitive"`
}

type stdoutConfig struct{}

type orthancConfig struct {
	URL string `hcl:"url"`
}

func schemaOf(v any) schema.Schema {
	s, err := schema.Of(v)
	if err != nil {
		panic(err)
	}
	return s
}

// adapters are the adapters of the tests: what a host would start as processes.
type adapters struct{}

func (adapters) Describe(_ context.Context, a config.Adapter) (info sdk.Info, s schema.Schema, err error) {
	switch {
	case a.Name == "rest" && a.Path == "":
		return info, schemaOf(restConfig{}), nil
	case a.Name == "broken" && a.Path == "":
		return info, s, errors.New("exit status 2: CANARY of an error that nobody made safe")
	case a.Name == "orthanc" && filepath.IsAbs(a.Path):
		info.Feeds = []sdk.Feed{{Name: "changes"}, {Name: "deleted"}, {Name: "worklist", Class: sdk.Queue}}
		info.Resources = []sdk.Resource{{Name: "study"}, {Name: "serie"}}
		return info, schemaOf(orthancConfig{}), nil
	case a.Name == "forged" && len(a.SHA256) == 64:
		return info, s, sdk.Misconfigured("sha256", "the program has another SHA-256")
	}
	return info, s, sdk.Permanent("there is no such program")
}

func (adapters) Validate(_ context.Context, a config.Adapter, data []byte) error {
	if a.Name != "rest" {
		return nil
	}
	var c restConfig
	if err := schema.Decode(data, &c); err != nil {
		return err
	}
	if c.Auth != nil && c.Auth.Kind == "leaky" {
		return sdk.Misconfigured("auth.leaky.token", "the token %q is refused", c.Auth.Token)
	}
	if strings.HasPrefix(c.BaseURL, "ftp:") {
		return sdk.Misconfigured("base_url", "must begin with http:// or https://")
	}
	for _, f := range c.Feeds {
		if f.Since != nil && f.Since.Zone == "" {
			return sdk.Misconfigured("feed."+f.Name+".since.zone", "is needed with this format")
		}
		if f.Since != nil {
			if _, err := time.LoadLocation(f.Since.Zone); err != nil {
				return sdk.Misconfigured("feed."+f.Name+".since.zone", "is not a time zone")
			}
		}
	}
	return nil
}

var environment = map[string]string{
	"NOTIFY_URL": "https://receiver.example/CANARY", "TENANT": "CANARY-TENANT", "CANARY_ENV": "CANARY-ENV", "NEAR_TIMESTAMP": "timestmp",
}

func options(secrets string) config.Options {
	return config.Options{
		Adapters:     adapters{},
		Bundled:      []string{"rest", "broken"},
		Destinations: map[string]schema.Schema{"webhook": schemaOf(webhookConfig{}), "stdout": schemaOf(stdoutConfig{})},
		CheckDestination: func(kind string, data []byte) error {
			var c webhookConfig
			if kind == "webhook" && schema.Decode(data, &c) == nil && strings.HasPrefix(c.URL, "gopher:") {
				return &schema.Error{Path: "url", Text: "must begin with http:// or https://"}
			}
			return nil
		},
		CheckScript: func(_, path string, _ bool) error {
			if filepath.Base(path) == "broken.js" {
				return errors.New("broken.js:1:16: Unexpected end of file")
			}
			return nil
		},
		Schemas: []string{"redox/order", "redox/scheduling"},
		CheckSchema: func(_, name string) error {
			if filepath.Base(name) == "broken.json" {
				return errors.New("broken.json is not JSON from line 1 on")
			}
			return nil
		},
		SecretsDir: secrets,
		LookupEnv:  func(name string) (string, bool) { v, ok := environment[name]; return v, ok },
	}
}

// given adds to o what the lines of given.txt in dir give variables: "-var NAME=VALUE", "-var-file FILE" or, for the
// environment, "NAME=VALUE".
func given(t *testing.T, o config.Options, dir string) config.Options {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "given.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return o
	}
	if err != nil {
		t.Fatal(err)
	}
	env := maps.Clone(environment)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if file, ok := strings.CutPrefix(line, "-var-file "); ok {
			o.Values = append(o.Values, config.Value{File: filepath.Join(dir, file)})
			continue
		}
		line, isFlag := strings.CutPrefix(line, "-var ")
		name, value, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			t.Fatalf("given.txt: %s", line)
		case isFlag:
			o.Values = append(o.Values, config.Value{Name: name, Text: value})
		default:
			env[name] = value
		}
	}
	o.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	return o
}

// golden compares with a file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", file, got)
	}
}

func directories(t *testing.T, parent string) []string {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) == 0 {
		t.Fatalf("no cases in %s: %v", parent, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestEveryMistakeIsShownWithItsLineAndNoneShowsASecret(t *testing.T) {
	for _, name := range directories(t, "testdata/mistakes") {
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Join("testdata", "mistakes", name))
			o := given(t, options("../../secrets"), ".")
			o.Parsed = new(config.Parsed)
			_, _, _ = config.Load(t.Context(), ".", o)
			c, files, diags := config.Load(t.Context(), ".", o) // the second reading tells the same
			if c != nil || !diags.HasErrors() {
				t.Fatal("the mistake was accepted")
			}
			var text bytes.Buffer
			if err := config.WriteDiagnostics(&text, files, diags, false, 100); err != nil {
				t.Fatal(err)
			}
			golden(t, "want.txt", text.Bytes())
			var color bytes.Buffer
			if err := config.WriteDiagnostics(&color, files, diags, true, 0); err != nil {
				t.Fatal(err)
			}
			doc, err := config.DiagnosticsJSON(diags)
			if err != nil || !json.Valid(doc) {
				t.Fatal(err)
			}
			for _, out := range [][]byte{text.Bytes(), color.Bytes(), doc} {
				// CANARY_ENV is the name of a variable.
				if bytes.Contains(bytes.ReplaceAll(out, []byte("CANARY_ENV"), nil), []byte("CANARY")) {
					t.Errorf("a value is shown:\n%s", out)
				}
			}
		})
	}
}

func TestGoodConfiguration(t *testing.T) {
	for _, name := range directories(t, "testdata/good") {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", "good", name)
			o := given(t, options("testdata/secrets"), dir)
			o.Parsed = new(config.Parsed)
			_, _, _ = config.Load(t.Context(), dir, o)
			c, files, diags := config.Load(t.Context(), dir, o) // the second reading tells the same
			if len(diags) > 0 {
				var text bytes.Buffer
				config.WriteDiagnostics(&text, files, diags, false, 0)
				t.Fatal(text.String())
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(c); err != nil {
				t.Fatal(err)
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "want.json"), bytes.ReplaceAll(got.Bytes(), []byte(here), []byte("DIR")))
		})
	}
}

// TestOnlyFilesThatChangedAreParsedAgain: and a mistake is told each time.
func TestOnlyFilesThatChangedAreParsedAgain(t *testing.T) {
	dir := t.TempDir()
	o := options("")
	o.Parsed = new(config.Parsed)
	table := func(key string) string { return fmt.Sprintf("table \"a\" {\n  values = { %s = \"1\" }\n}\n", key) }
	read := func(a, b string) (bodies [2]hcl.Body, tables map[string]map[string]string, mistakes int) {
		t.Helper()
		write(t, filepath.Join(dir, "a.hcl"), a)
		write(t, filepath.Join(dir, "b.hcl"), b)
		c, files, diags := config.Load(t.Context(), dir, o)
		if c != nil {
			tables = c.Tables
		}
		return [2]hcl.Body{files[filepath.Join(dir, "a.hcl")].Body, files[filepath.Join(dir, "b.hcl")].Body}, tables, len(diags)
	}
	first, _, n := read(table("x"), "locals {\n  l = 1\n}\n")
	if n > 0 {
		t.Fatal("mistakes in the first reading")
	}
	second, tables, n := read(table("y"), "locals {\n  l = 1\n}\n")
	if n > 0 || tables["a"]["y"] != "1" || second[0] == first[0] || second[1] != first[1] {
		t.Errorf("after a.hcl was changed: %v, the files are the same: %t %t", tables, second[0] == first[0], second[1] == first[1])
	}
	for range 2 {
		if _, tables, n := read(table("y"), "locals {\n  l = \n}\n"); tables != nil || n != 1 {
			t.Errorf("a mistake: %v, %d are told", tables, n)
		}
	}
	if _, tables, n := read(table("z"), ""); n > 0 || tables["a"]["z"] != "1" {
		t.Errorf("when it is corrected: %v, %d are told", tables, n)
	}
}

func TestOneFileIsReadWithoutItsNeighbours(t *testing.T) {
	c, _, diags := config.Load(t.Context(), "testdata/good/everything/30-destinations.hcl", options("testdata/secrets"))
	if diags.HasErrors() || len(c.Destinations) != 2 || len(c.Pipelines) != 0 {
		t.Errorf("%+v %v", c, diags)
	}
}

func TestPathThatHoldsNoConfiguration(t *testing.T) {
	for path, want := range map[string]string{
		"testdata/god":                          `Did you mean "good"?`,
		"testdata/good/design/appointment.js":   "is not an .hcl file",
		"testdata":                              "no .hcl file",
		"testdata/good/design/main.hcl/below/x": "can't be read: not a directory",
	} {
		c, _, diags := config.Load(t.Context(), path, options("testdata/secrets"))
		if c != nil || !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: %v, want %q", path, diags, want)
		}
	}
}

func TestWhatIsNoTextFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x.hcl")
	if err := os.Symlink(os.DevNull, name); err != nil {
		t.Fatal(err)
	}
	if _, _, diags := config.Load(t.Context(), dir, options(dir)); !strings.Contains(diags.Error(), "not a regular file") {
		t.Error(diags)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	write(t, name, strings.Repeat("# a line\n", 200_000))
	if _, _, diags := config.Load(t.Context(), dir, options(dir)); !strings.Contains(diags.Error(), "longer than 1048576 bytes") {
		t.Error(diags)
	}
}

// TestDeepNestingIsRefused before the parser's recursion ends the program.
func TestDeepNestingIsRefused(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "main.hcl")
	for begin, end := range map[string]string{
		"(": ")", "[": "]", "{ a = ": "}", "\"${": "}\"", "f(": ")", "!": "", "-": "", "[for x in ": " : 1]", "1 + ": "", "true ? 1 : ": "",
		"1\n + (": ")", "{ for x in ": " : 1 => 1 }", "0 == [0][": "]",
	} {
		write(t, name, "locals {\n  x = "+strings.Repeat(begin, 1100)+"1"+strings.Repeat(end, 1100)+"\n}\n")
		_, files, diags := config.Load(t.Context(), dir, options(dir))
		if len(diags) != 1 || diags[0].Summary != "Nested too deep" {
			t.Errorf("%s: %.200s", begin, diags.Error())
		}
		if _, _, diags := config.Format(name, files[name].Bytes); len(diags) != 1 || diags[0].Summary != "Nested too deep" {
			t.Errorf("%s: %.200s", begin, diags.Error())
		}
	}
	write(t, name, "locals {\n  x = [1]"+strings.Repeat("[*]", 1100)+"\n}\n")
	if _, _, diags := config.Load(t.Context(), dir, options(dir)); len(diags) != 1 || diags[0].Summary != "Nested too deep" {
		t.Errorf("%.200s", diags.Error())
	}
	write(t, name, "variable \"x\" { type = any }")
	o := options(dir)
	o.Values = []config.Value{{Name: "x", Text: strings.Repeat("[", 1100)}}
	if _, _, diags := config.Load(t.Context(), dir, o); len(diags) != 1 || !strings.Contains(diags[0].Detail, "can't be read as an expression") {
		t.Errorf("%.200s", diags.Error())
	}
}

func TestSecretsComeFromTheCredentialsDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), `destination "webhook" "x" { url = secret("url") }`)
	write(t, filepath.Join(dir, "url"), "  https://receiver.example\n")
	o := options("")
	o.LookupEnv = func(name string) (string, bool) { return dir, name == "CREDENTIALS_DIRECTORY" }
	c, _, diags := config.Load(t.Context(), dir, o)
	if diags.HasErrors() || string(c.Destinations[0].Config) != `{"url":"https://receiver.example"}` {
		t.Error(diags)
	}
	o.LookupEnv = func(string) (string, bool) { return "", false }
	if _, _, diags := config.Load(t.Context(), dir, o); !strings.Contains(diags.Error(), "/run/secrets") {
		t.Error(diags)
	}
}

func TestReloadReadsSecretsAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.hcl"), `destination "webhook" "x" { url = secret("url") }`)
	for _, url := range []string{"https://one.example", "https://two.example"} {
		write(t, filepath.Join(dir, "url"), url)
		c, _, diags := config.Load(t.Context(), dir, options(dir))
		if diags.HasErrors() || !strings.Contains(string(c.Destinations[0].Config), url) {
			t.Errorf("%s: %v", url, diags)
		}
	}
}

func TestDiagnosticsJSONHasTheRange(t *testing.T) {
	diags := hcl.Diagnostics{
		{Severity: hcl.DiagError, Summary: "S", Detail: "D", Subject: &hcl.Range{Filename: "main.hcl",
			Start: hcl.Pos{Line: 2, Column: 3, Byte: 10}, End: hcl.Pos{Line: 2, Column: 5, Byte: 12}}},
		{Severity: hcl.DiagWarning, Summary: "W"},
	}
	got, err := config.DiagnosticsJSON(diags)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/diagnostics.json", append(got, '\n'))
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/go-sourcemap/sourcemap"

	"github.com/rounds-engine/rounds/scripts"
)

const (
	entryImport = "rounds:script" // what the generated entry module imports: the script
	exportName  = "__rounds_map"  // variable that holds the default export
	nativeName  = "__rounds"      // function that the library's modules call
	libraryName = "rounds"        // esbuild's name space of the library
	bundleName  = "rounds-bundle.js"

	nativeModule = "rounds/engine/native" // takes nativeName, so that authors can't
)

// extensions are tried in this order where an import names none.
var extensions = []string{".ts", ".js", ".mts", ".mjs", ".json"}

// Source is what a script is compiled from. It is plain data, which may be handed to another process.
type Source struct {
	Name      string // of the script's file, relative to the root
	Code      string // the script and all that it imports, as one program
	Positions []byte // the source map of Code
	// Tables are context.tables, and TableDefaults what they have for other keys. They are not changed afterwards.
	Tables        map[string]map[string]string
	TableDefaults map[string]string
}

// Bundle is a script with all that it imports, read and not yet compiled: nothing of it has run.
type Bundle struct {
	Source
	files []string
	names []string // of all files, the library's too, as errors have them
	check func([]byte, func(string) bool) *Refusal
}

// Sum is the same for scripts of the same code, what they import included.
func (b *Bundle) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(b.Code)) }

// Files are the script and all that it imports, as absolute paths. A change of any of them is a change of the mapping.
func (b *Bundle) Files() []string { return b.files }

// Accept gives a notification if Options.Check does not refuse it, else the error of that at a place. What is nil was filtered out.
func (b *Bundle) Accept(body []byte, at Error) ([]byte, error) {
	if b.check != nil && body != nil {
		if refusal := b.check(body, b.isAuthors); refusal != nil {
			at.Text, at.Detail = "returned an object that "+refusal.Text, cut(refusal.Detail, detailLimit)
			return nil, &at
		}
	}
	return body, nil
}

// Compile reads the script at path and all that it imports, checks it and compiles it, for which its module is evaluated once. The
// error is an *Error, or several joined, one for each mistake.
func Compile(path string, o Options) (*Script, error) {
	b, err := NewBundle(path, o)
	if err != nil {
		return nil, err
	}
	return b.Compile()
}

// NewBundle reads the script at path and all that it imports. It runs nothing of it, so there may be mistakes left that Compile finds.
// The errors are those of Compile.
func NewBundle(path string, o Options) (*Bundle, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	root := filepath.Dir(path)
	if o.Root != "" {
		if root, err = filepath.Abs(o.Root); err != nil {
			return nil, err
		}
	}
	s := &Bundle{Source: Source{Name: relative(root, path), Tables: o.Tables, TableDefaults: o.TableDefaults}, check: o.Check}
	start := s.start()
	// esbuild follows links in the name of its working directory, and names of files are relative to that.
	real, err := filepath.EvalSymlinks(root)
	switch {
	case err != nil:
		return nil, s.fail(start, "the directory of the script or of the configuration can't be read")
	case !below(root, path):
		return nil, s.fail(start, "the script is outside of the configuration's directory")
	}
	b := &bundler{root: real, script: filepath.Join(real, filepath.FromSlash(s.Name)), text: o.Text}
	if _, err := b.find(b.script, s.Name); err != nil {
		return nil, s.fail(start, err.Error())
	}
	code, positions, meta, errs := b.build()
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if meta.Inputs[s.Name].Format != "esm" {
		return nil, s.fail(start, noDefault)
	}
	s.Code, s.Positions = code, positions
	for name := range meta.Inputs {
		own, library := strings.CutPrefix(name, libraryName+":")
		s.names = append(s.names, own)
		if name != entryName && !library {
			s.files = append(s.files, filepath.Join(root, filepath.FromSlash(name)))
		}
	}
	slices.Sort(s.files)
	return s, nil
}

// start is where a script is blamed that has no default export, as far as is known.
func (s Source) start() position { return position{file: s.Name, line: 1, column: 1} }

const (
	entryName = "rounds-entry"
	noDefault = `no default export; a mapping is "export default function ({ change, fetched }, context) { … }"`
)

// Compile makes the program and evaluates the module once, to see what it exports.
func (b *Bundle) Compile() (*Script, error) {
	names := func(name string) bool { return strings.Contains(b.Code, name) }
	s := &Script{Bundle: b, export: b.start(), parses: names("JSON"), flattens: names("flat"), converts: names("toJSON"),
		hides:   hiding.MatchString(b.Code) || strings.Count(b.Code, "globalThis") > 2, // the module that takes nativeName has two
		natives: strings.Count(b.Code, "native") > 2,                                   // the module that takes nativeName has two
		views:   canView(b.Code)}
	var err error
	if s.positions, err = sourcemap.Parse("", b.Positions); err != nil {
		return nil, fmt.Errorf("source map of %s: %w", b.Name, err)
	}
	s.plain = sync.OnceValues(func() (*goja.Program, error) { return s.compile(false) })
	if s.program, err = s.compile(s.views && !listing.MatchString(b.Code) && strings.Count(b.Code, "globalThis") <= 2); err != nil {
		// esbuild has parsed it before: this is syntax that goja does not have. Messages at this point quote the script only.
		return nil, s.syntaxError(err)
	}
	at := s.export
	err = s.run(context.Background(), time.Now(), 0, func(k *call, export goja.Value) error {
		if export == nil || goja.IsUndefined(export) {
			return s.fail(at, noDefault)
		}
		if _, ok := goja.AssertFunction(export); !ok {
			return s.fail(at, "the default export is "+k.describe(export)+", not a function")
		}
		at = s.exportPosition(export.String())
		f := export.(*goja.Object)
		switch name := f.Get("constructor").ToObject(k.vm).Get("name").String(); {
		case strings.HasPrefix(name, "Async"):
			return s.fail(at, "the default export is an async function; a mapping returns its result at once, "+
				"there is nothing to wait for")
		case strings.HasPrefix(name, "Generator"):
			return s.fail(at, "the default export is a generator function; a mapping returns one object")
		case strings.HasPrefix(export.String(), "class"):
			return s.fail(at, "the default export is a class; export a function")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.export = at
	return s, nil
}

// compile makes the program, as it stands or with literals that are made by literalName.
func (s *Script) compile(literals bool) (*goja.Program, error) {
	tree, err := goja.Parse(bundleName, s.Code, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, err
	}
	if literals {
		s.shapes = shapes(tree)
	}
	return goja.CompileAST(tree, true)
}

// metafile is what of esbuild's metafile is used here.
type metafile struct {
	Inputs map[string]struct{ Format string } `json:"inputs"`
}

// bundler makes one program of a script and its imports.
type bundler struct {
	root   string // directory that imports may not leave, its links followed
	script string
	text   *string // of the script; nil: what its file holds
}

func (b *bundler) build() (code string, positions []byte, meta metafile, errs []error) {
	result := api.Build(api.BuildOptions{
		Stdin: &api.StdinOptions{
			Contents:   "import " + quoted(nativeModule) + "; import map from " + quoted(entryImport) + ";" + exportName + " = map;",
			Sourcefile: entryName,
			ResolveDir: b.root,
		},
		Banner:         map[string]string{"js": "(function(){var " + exportName + ";"},
		Footer:         map[string]string{"js": "return " + exportName + "})()"},
		AbsWorkingDir:  b.root,
		Outfile:        bundleName,
		Bundle:         true,
		Format:         api.FormatIIFE,
		Platform:       api.PlatformNeutral,
		Target:         api.ES2022,
		Charset:        api.CharsetASCII, // positions in the generated code are the same in bytes and in UTF-16
		Sourcemap:      api.SourceMapExternal,
		SourcesContent: api.SourcesContentExclude,
		LegalComments:  api.LegalCommentsNone,
		TreeShaking:    api.TreeShakingTrue,
		Metafile:       true,
		TsconfigRaw:    "{}", // what a tsconfig.json says is for the editor
		// What goja does not have. It would take \p{L} for the letters "p{L}" without a word.
		Supported: map[string]bool{
			"regexp-match-indices": false, "regexp-set-notation": false, "regexp-unicode-property-escapes": false,
		},
		LogOverride: map[string]api.LogLevel{
			"unsupported-regexp": api.LogLevelError, "direct-eval": api.LogLevelError,
			"assign-to-constant": api.LogLevelError, "empty-import-meta": api.LogLevelError,
		},
		Plugins: []api.Plugin{{Name: "rounds", Setup: b.setup}},
	})
	if len(result.Errors) > 0 {
		return "", nil, metafile{}, b.errors(result.Errors)
	}
	for _, f := range result.OutputFiles {
		if strings.HasSuffix(f.Path, ".map") {
			positions = f.Contents
		} else {
			code = string(f.Contents)
		}
	}
	if err := json.Unmarshal([]byte(result.Metafile), &meta); err != nil {
		return "", nil, metafile{}, []error{fmt.Errorf("metafile of %s: %w", b.script, err)}
	}
	return code, positions, meta, nil
}

// errors turns esbuild's messages into errors at the author's line. They speak of scripts only: there is no record yet.
func (b *bundler) errors(messages []api.Message) []error {
	var errs []error
	for _, m := range messages {
		text := m.Text
		if what, ok := strings.CutSuffix(text, ")"); ok && strings.Contains(what, " in the configured target environment (") {
			text, _, _ = strings.Cut(what, " in the configured target environment (")
		}
		e := &Error{File: relative(b.root, b.script), Line: 1, Column: 1, Text: text}
		if l := m.Location; l != nil && l.File != entryName {
			e.File, e.Line, e.Column = strings.TrimPrefix(l.File, libraryName+":"), l.Line, column(l.LineText, l.Column)
		} else if strings.HasPrefix(m.Text, "No matching export") {
			e.Text = noDefault
		}
		errs = append(errs, e)
	}
	return errs
}

// column counts characters from 1, offset is in bytes from 0.
func column(line string, offset int) int {
	return len([]rune(line[:min(offset, len(line))])) + 1
}

func (b *bundler) setup(build api.PluginBuild) {
	build.OnResolve(api.OnResolveOptions{Filter: "."}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
		return b.resolve(args)
	})
	build.OnLoad(api.OnLoadOptions{Filter: ".", Namespace: libraryName}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		text, err := fs.ReadFile(scripts.FS, args.Path)
		if err != nil {
			return api.OnLoadResult{}, err
		}
		contents := string(text)
		return api.OnLoadResult{Contents: &contents, Loader: api.LoaderJS}, nil
	})
	build.OnLoad(api.OnLoadOptions{Filter: ".", Namespace: "file"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		if b.text == nil || args.Path != b.script {
			return api.OnLoadResult{}, nil // the next one's, or esbuild's own
		}
		loader := api.LoaderJS
		if strings.HasSuffix(args.Path, "ts") {
			loader = api.LoaderTS
		}
		return api.OnLoadResult{Contents: b.text, Loader: loader}, nil
	})
	build.OnLoad(api.OnLoadOptions{Filter: `\.json$`, Namespace: "file"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
		text, err := os.ReadFile(args.Path)
		if err != nil {
			return api.OnLoadResult{}, errors.New("the file can't be read")
		}
		contents := keepDigits(text)
		return api.OnLoadResult{Contents: &contents, Loader: api.LoaderJSON}, nil
	})
}

var jsonToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*`)

// keepDigits makes strings of the numbers in a JSON document that a record's would become. What is no JSON stays as it is, for its
// mistake to be shown.
func keepDigits(doc []byte) string {
	doc = bytes.TrimPrefix(doc, []byte("\uFEFF"))
	if !json.Valid(doc) {
		return string(doc)
	}
	vm := goja.New()
	return jsonToken.ReplaceAllStringFunc(string(doc), func(token string) string {
		d := decoder{vm: vm, text: token}
		if v, ok := d.number(); ok && goja.IsString(v) {
			return quoted(token)
		}
		return token
	})
}

// resolve finds what an import means. Its errors are shown at the import's line.
func (b *bundler) resolve(args api.OnResolveArgs) (api.OnResolveResult, error) {
	switch path := args.Path; {
	case path == entryImport:
		return api.OnResolveResult{Path: b.script}, nil
	case args.Kind == api.ResolveJSDynamicImport:
		return api.OnResolveResult{}, errors.New("import() gives a promise, which a mapping can't wait for; " +
			`write "import … from" at the top`)
	case args.Kind != api.ResolveJSImportStatement:
		return api.OnResolveResult{}, errors.New(
			`scripts are ES modules; write "import … from" at the top instead of require`)
	case path == libraryName || strings.HasPrefix(path, libraryName+"/"):
		name := path + ".js"
		_, err := fs.Stat(scripts.FS, name)
		internal := args.Namespace == libraryName || args.Importer == filepath.Join(b.root, entryName)
		if err != nil || !internal && !slices.Contains(scripts.Modules(), path) {
			return api.OnResolveResult{}, fmt.Errorf("there is no %q in the library; it has %s", path,
				strings.Join(scripts.Modules(), ", "))
		}
		effects := api.SideEffectsFalse // a module that nothing is used of is not evaluated
		if path == nativeModule {
			effects = api.SideEffectsTrue
		}
		return api.OnResolveResult{Path: name, Namespace: libraryName, SideEffects: effects}, nil
	case strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../"):
		found, err := b.find(filepath.Join(filepath.Dir(args.Importer), filepath.FromSlash(path)), path)
		return api.OnResolveResult{Path: found}, err
	}
	return api.OnResolveResult{}, fmt.Errorf("can't import %q; a script imports files beside it (\"./name.js\") and the "+
		"library (%s), no packages, absolute paths or URLs", args.Path, strings.Join(scripts.Modules(), ", "))
}

// find gives the file that is meant by an absolute path, which may lack its extension. shown is how the author wrote it.
func (b *bundler) find(path, shown string) (string, error) {
	candidates := []string{path}
	if !slices.Contains(extensions, filepath.Ext(path)) {
		candidates = candidates[:0]
		for _, e := range extensions {
			candidates = append(candidates, path+e)
		}
	} else if stem, ok := strings.CutSuffix(path, ".js"); ok {
		candidates = append(candidates, stem+".ts") // as TypeScript's authors write it
	}
	for _, c := range candidates {
		if info, err := os.Stat(c); err != nil || info.IsDir() {
			continue
		}
		if !b.inside(c) {
			return "", fmt.Errorf("%q is outside of the configuration's directory", shown)
		}
		return c, nil
	}
	return "", fmt.Errorf("there is no file %q (a script's name ends in %s)", shown, strings.Join(extensions, ", "))
}

// inside reports whether path is below the root, by its name and by where its links lead.
func (b *bundler) inside(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && below(b.root, path) && below(b.root, real)
}

func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// relative is path as shown to people: relative to root where it is below it.
func relative(root, path string) string {
	if below(root, path) {
		if rel, err := filepath.Rel(root, path); err == nil {
			return filepath.ToSlash(rel)
		}
	}
	return path
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // a string always marshals
	return string(text)
}

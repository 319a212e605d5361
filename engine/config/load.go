// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sync/errgroup"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Load reads the configuration at path: a .hcl file, or all of those in a directory. It finds every mistake that can be
// found and stops at none; a configuration is returned only when there is no error among the diagnostics.
func Load(ctx context.Context, path string, o Options) (*Config, Files, hcl.Diagnostics) {
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.SecretsDir == "" {
		o.SecretsDir = "/run/secrets"
		if dir, ok := o.LookupEnv("CREDENTIALS_DIRECTORY"); ok && dir != "" {
			o.SecretsDir = dir
		}
	}
	l := &loader{
		ctx: ctx, opts: o, config: &Config{}, files: Files{}, broken: map[string]bool{}, unsure: map[string]bool{}, hidden: map[string][]hcl.Range{},
		shown:  map[string][]hcl.Range{},
		blocks: map[string]*hclsyntax.Block{}, scripts: map[checked]error{}, schemas: map[string]error{}, used: map[string]*adapter{},
		queues:  map[string]string{},
		localOf: map[string]*hclsyntax.Attribute{}, valuesOf: map[string][]hclsyntax.Expression{},
	}
	names := l.find(path)
	l.config.Dir = l.dir
	l.outside = &outside{dir: l.dir, secrets: o.SecretsDir, lookupEnv: o.LookupEnv, read: map[string]string{}}
	l.eval = &hcl.EvalContext{Functions: l.outside.functions(), Variables: map[string]cty.Value{}}
	l.readAll(names)
	l.variables()
	l.tables()
	l.locals()
	l.adapters()
	l.sources()
	l.destinations()
	l.pipelines()
	l.moves()
	l.alerts()
	l.web()
	l.history()
	l.config.Secrets = append(l.config.Secrets, l.outside.secretValues()...)
	diags := l.finish()
	if diags.HasErrors() {
		l.config = nil
	}
	return l.config, l.cover(), diags
}

// loader is the state of one Load.
type loader struct {
	ctx        context.Context
	opts       Options
	config     *Config
	dir        string // absolute: of the files, where relative paths start
	files      Files
	broken     map[string]bool // files that could not be parsed whole: what is missing may stand in one of them
	unsure     map[string]bool // files with any mistake that the parser found: not all of their text is in the tree
	order      []*hclsyntax.Block
	blocks     map[string]*hclsyntax.Block // by type and name: "source.rest.clinic"
	used       map[string]*adapter         // by name
	feeds      map[string]*object          // sources that could be read, by ID
	scripts    map[checked]error           // what the check of a script found
	schemas    map[string]error            // the same of a schema, by path or by the name of a shipped one
	queues     map[string]string           // which pipeline polls a feed of which only one can
	expands    bool                        // the pipeline that is read has an expand block
	localOf    map[string]*hclsyntax.Attribute
	localOrder []string                          // their names in the order of the files
	valuesOf   map[string][]hclsyntax.Expression // where values of variables stand in files, by variable
	outside    *outside
	eval       *hcl.EvalContext
	diags      hcl.Diagnostics
	hidden     map[string][]hcl.Range // to be covered in snippets, by file
	shown      map[string][]hcl.Range // of these, what is not to be covered
	written    []string               // values of sensitive attributes
}

// find returns the names of the files.
func (l *loader) find(path string) []string {
	fail := func(summary, detail string, args ...any) []string {
		l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(detail, args...)})
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("No configuration", "There is no file or directory %q.%s", path,
			meant(filepath.Base(path), filesIn(filepath.Dir(path))))
	} else if err != nil {
		return fail("No configuration", "%q can't be read: %s.", path, reason(err))
	}
	dir := path
	names := []string{path}
	if !info.IsDir() {
		dir = filepath.Dir(path)
		if filepath.Ext(path) != ".hcl" {
			return fail("No configuration", "%q is not an .hcl file.", path)
		}
	}
	if l.dir, err = filepath.Abs(dir); err != nil {
		return fail("No configuration", "The absolute path of %q is unknown: %s.", dir, reason(err))
	}
	if !info.IsDir() {
		return names
	}
	names = nil
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return fail("No configuration", "The directory %q can't be read: %s.", path, reason(err))
	}
	for _, e := range entries {
		// Editors' lock and backup files begin with a dot or a hash.
		if filepath.Ext(e.Name()) == ".hcl" && !e.IsDir() && !strings.ContainsAny(e.Name()[:1], ".#") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return fail("No configuration", "There is no .hcl file in the directory %q.", path)
	}
	return names
}

// Parsed are the files of the last configuration that was read with it, so that the next reading parses only what has changed. It is
// good for one reading at a time.
type Parsed struct{ files map[string]*parsed }

// readAll reads the files, as many at a time as there are processors, and takes them over in their order.
func (l *loader) readAll(names []string) {
	files := make([]*parsed, len(names))
	errs := make([]error, len(names))
	before := l.opts.Parsed
	if before == nil {
		before = new(Parsed)
	}
	var reading errgroup.Group
	reading.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		reading.Go(func() error {
			text, err := readBounded(name, maxHCL)
			if errs[i] = err; err != nil {
				return nil
			}
			if files[i] = before.files[name]; files[i] == nil || string(files[i].file.Bytes) != text {
				files[i] = parse(name, text)
			}
			return nil
		})
	}
	_ = reading.Wait() // each file has its own error
	before.files = map[string]*parsed{}
	for i, name := range names {
		if err := errs[i]; err != nil {
			l.broken[name] = true
			l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable file",
				Detail: fmt.Sprintf("%q can't be read: %s.", name, reason(err))})
			continue
		}
		if files[i].clean() {
			before.files[name] = files[i]
		}
		body, ok := l.accept(files[i])
		if !ok {
			l.broken[name] = true
		}
		l.declare(name, body)
	}
}

// parsed is what came of the text of a file. What is made of it does not change it (see own).
type parsed struct {
	name  string
	file  *hcl.File
	deep  *hcl.Range // where it is nested too deep; nil: nowhere
	diags hcl.Diagnostics
	wrong []hcl.Range // numbers that are out of range
}

func parse(name, text string) *parsed {
	p := &parsed{name: name, file: &hcl.File{Bytes: []byte(text), Body: &hclsyntax.Body{}}}
	if p.deep = tooDeep(p.file.Bytes, name); p.deep == nil {
		p.file, p.diags = hclsyntax.ParseConfig(p.file.Bytes, name, hcl.InitialPos)
		p.wrong = bounded(p.file.Body.(*hclsyntax.Body))
	}
	return p
}

func (p *parsed) clean() bool { return p.deep == nil && len(p.diags) == 0 && len(p.wrong) == 0 }

// parse reads the text of a file; ok is false when something of it is not in the tree.
func (l *loader) parse(name, text string) (body *hclsyntax.Body, ok bool) {
	return l.accept(parse(name, text))
}

// accept takes over what came of a file.
func (l *loader) accept(p *parsed) (body *hclsyntax.Body, ok bool) {
	l.files[p.name] = p.file
	body = p.file.Body.(*hclsyntax.Body)
	if p.deep != nil {
		l.unsure[p.name] = true
		l.errorf(*p.deep, "Nested too deep", "More than %d brackets and operators are nested here.", maxNesting)
		return body, false
	}
	ok = !l.syntax(p.name, string(p.file.Bytes), p.diags)
	for _, at := range p.wrong {
		l.unsure[p.name], ok = true, false
		l.errorf(at, "Wrong value", "This number is out of range.")
	}
	return body, ok
}

// maxNesting bounds what the parser and all that walks through its trees do recursively, on a stack that is not without end.
const maxNesting = 1000

// tooDeep returns where brackets and operators that wait for their end are more than maxNesting.
func tooDeep(src []byte, name string) *hcl.Range {
	type bracket struct {
		kind  hclsyntax.TokenType
		depth int // where it opened
	}
	open, depth := []bracket{{hclsyntax.TokenOBrace, 0}}, 0
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // what is wrong, the parser says too
	for i := range tokens {
		t := &tokens[i]
		inner := open[len(open)-1]
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
			open = append(open, bracket{t.Type, depth})
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			if len(open) > 1 {
				open, depth = open[:len(open)-1], inner.depth
			}
			if t.Type != hclsyntax.TokenCBrack { // an index or a splat nests what it is applied to
				depth--
			}
		case hclsyntax.TokenComma, hclsyntax.TokenEqual:
			depth = inner.depth
		case hclsyntax.TokenNewline:
			if inner.kind == hclsyntax.TokenOBrace { // else the expression goes on
				depth = inner.depth
			}
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenQuestion, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual,
			hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
			depth++
		}
		if depth > maxNesting {
			return &t.Range
		}
	}
	return nil
}

// unquoted is a duration whose quotes are missing.
var unquoted = regexp.MustCompile(`=\s*([0-9]+(?:ms|s|m|h)[0-9smh]*)\s*(#.*|//.*)?$`)

// syntax takes over what the parser says about a file, and says whether something of the file is not in the tree.
func (l *loader) syntax(name, src string, diags hcl.Diagnostics) (broken bool) {
	for _, d := range diags {
		l.unsure[name] = true
		if d.Summary != "Attribute redefined" { // after which the tree lacks nothing but the second value
			broken = true
		}
		if d.Summary == "Missing newline after argument" && d.Subject != nil {
			line := strings.Split(src, "\n")[d.Subject.Start.Line-1]
			if m := unquoted.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				d.Detail += fmt.Sprintf(" A duration stands in quotes: %q.", m[1])
			}
		}
		if d.Summary == "Argument definition required" { // HCL quotes what stands there, which may be a secret
			d.Detail = "A block in one line holds one attribute, which is written NAME = VALUE."
		}
		l.diags = append(l.diags, d)
		// Behind a quote that nobody closed, text and code have changed places, and nothing said about them is true.
		if d.Summary == "Invalid multi-line string" {
			return true
		}
	}
	return broken
}

// kinds are the blocks at the top of a file, and what their labels are.
var kinds = map[string][]string{
	"adapter":     {"name"},
	"source":      {"adapter", "name"},
	"destination": {"type", "name"},
	"pipeline":    {"name"},
	"variable":    {"name"},
	"locals":      {},
	"table":       {"name"},
	"moved":       {},
	"alert":       {"name"},
	"web":         {},
	"history":     {},
}

// declare takes in the blocks of a file. Of a broken file only the names count, so that references to them hold.
func (l *loader) declare(file string, body *hclsyntax.Body) {
	broken := l.broken[file]
	if !broken {
		for _, attr := range inOrder(body.Attributes) {
			l.hide(attr)
			l.errorf(attr.NameRange, "Unexpected attribute", "A file holds only blocks: %s.%s Values of variables stand in a file of "+
				"their own, in another directory, which -var-file names.", list(keys(kinds)), meant(attr.Name, keys(kinds)))
		}
	}
	for _, block := range body.Blocks {
		labels, known := kinds[block.Type]
		if !known && !broken {
			l.hide(block)
			l.errorf(block.TypeRange, "Unknown block", "There is no block %q at the top of a file.%s", block.Type,
				meantOr(block.Type, keys(kinds), "The blocks are"))
		}
		if !known || broken && len(block.Labels) != len(labels) || !broken && !l.labels(block, labels) {
			l.hide(block)
			continue
		}
		if len(labels) == 0 { // there may be several
			if block.Type == "locals" && !broken {
				l.declareLocals(block)
			} else if !broken {
				l.order = append(l.order, block)
			}
			continue
		}
		id := strings.Join(append([]string{block.Type}, block.Labels...), ".")
		if other, ok := l.blocks[id]; ok {
			if !broken {
				l.hide(block)
				l.errorf(block.DefRange(), "Duplicate name", "There is another %s at %s:%d; each needs a name of its own.",
					title(block), other.TypeRange.Filename, other.TypeRange.Start.Line)
			}
			continue
		}
		l.blocks[id] = block
		if !broken {
			l.order = append(l.order, block)
		}
	}
}

// of returns the blocks of a type.
func (l *loader) of(kind string) []*hclsyntax.Block {
	var blocks []*hclsyntax.Block
	for _, b := range l.order {
		if b.Type == kind {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// names returns what follows prefix in the names of the blocks: "source." gives "rest.clinic".
func (l *loader) names(prefix string) []string {
	var names []string
	for _, id := range keys(l.blocks) {
		if name, ok := strings.CutPrefix(id, prefix); ok {
			names = append(names, name)
		}
	}
	return names
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// maxName is the longest name, in bytes: names are part of the keys of the state.
const maxName = 64

// labels checks the labels of a block.
func (l *loader) labels(block *hclsyntax.Block, want []string) bool {
	if len(block.Labels) != len(want) {
		form := block.Type
		for _, label := range want {
			form += fmt.Sprintf(" %q", strings.ToUpper(label))
		}
		l.errorf(block.DefRange(), "Wrong number of labels", "It has %s and is written: %s { … }", count(len(block.Labels), "label"), form)
		return false
	}
	for i, label := range block.Labels {
		var wrong string
		switch {
		case label == "":
			wrong = "It is empty."
		case len(label) > maxName:
			wrong = fmt.Sprintf("It has more than %d characters.", maxName)
		case strings.HasPrefix(label, "__"):
			wrong = "Names that begin with two underscores are reserved."
		case !identifier.MatchString(label):
			wrong = "It begins with a letter or an underscore and holds letters, digits, underscores and hyphens."
		default:
			continue
		}
		l.errorf(block.LabelRanges[i], "Invalid name", "This is the %s of a %s. %s", want[i], block.Type, wrong)
		return false
	}
	return true
}

func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun
	case 1:
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// title is a block as it is written: source "rest" "clinic".
func title(block *hclsyntax.Block) string {
	text := block.Type
	for _, label := range block.Labels {
		text += fmt.Sprintf(" %q", label)
	}
	return text
}

// adapter is an adapter that a source names.
type adapter struct {
	Adapter
	places places
	info   sdk.Info
	schema schema.Schema
	failed bool // these could not be had, a diagnostic says why
}

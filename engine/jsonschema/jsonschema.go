// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package jsonschema checks notifications against JSON Schemas: those of the Redox models, which ship with Rounds, and files beside
// the configuration.
//
// A schema reads nothing but shipped schemas and files in the directory of the configuration, whatever its $ref and $id say.
package jsonschema

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rounds-engine/rounds/scripts"
)

// shippedScheme is that of the URLs of shipped schemas: they can be referred to from files, too.
const shippedScheme = "rounds"

// Schema is a compiled schema, safe for use by many goroutines.
type Schema struct {
	name   string // as shown
	schema *jsonschema.Schema
	names  map[string]bool // of members that the schema describes
	sum    [sha256.Size]byte
}

// Sum is the same for schemas of the same texts, what they refer to included.
func (s *Schema) Sum() [sha256.Size]byte { return s.sum }

// Compile reads and compiles a schema: a shipped one by its name, "redox/scheduling", or a file by its absolute path. root is the
// directory that the file and all that it refers to may not leave. The error says what is wrong with the schema, and holds
// nothing of a file that is none.
func Compile(name, root string) (*Schema, error) {
	l := &loader{names: map[string]bool{}, sum: sha256.New()}
	where, shown := shippedScheme+":///"+name+".json", name
	if filepath.IsAbs(name) {
		var err error
		if l.root, err = filepath.EvalSymlinks(root); err != nil {
			return nil, errors.New("the directory of the configuration can't be read")
		}
		file := name
		if rel, err := filepath.Rel(root, name); err == nil { // the root as it is named may be a link
			file = filepath.Join(l.root, rel)
		}
		where = (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()
		shown = l.shown(where)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(l)
	schema, err := c.Compile(where)
	if err != nil {
		return nil, l.explain(shown, err)
	}
	return &Schema{name: shown, schema: schema, names: l.names, sum: [sha256.Size]byte(l.sum.Sum(nil))}, nil
}

// loader reads schemas for the compiler, which has those of the drafts itself.
type loader struct {
	root  string          // links followed; empty: no files
	names map[string]bool // see Schema
	sum   hash.Hash       // of the texts that were read
}

// loadError is an error of a file, made without its content.
type loadError struct{ text string }

func (e *loadError) Error() string { return e.text }

// Load implements jsonschema.URLLoader.
func (l *loader) Load(where string) (any, error) {
	u, err := url.Parse(where)
	if err != nil {
		return nil, &loadError{"is not a URL"}
	}
	var text []byte
	switch u.Scheme {
	case shippedScheme:
		if text, err = scripts.Schemas.ReadFile(path.Join("schemas", u.Path)); err != nil {
			return nil, &loadError{"does not ship with Rounds"}
		}
	case "file":
		if text, err = l.read(filepath.FromSlash(u.Path)); err != nil {
			return nil, err
		}
	default:
		return nil, &loadError{"is not a file; a schema reads nothing from the network: put a copy beside it"}
	}
	l.sum.Write(binary.AppendUvarint(nil, uint64(len(text))))
	l.sum.Write(text)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, &loadError{notJSON(text)}
	}
	l.collect(doc)
	return doc, nil
}

func (l *loader) read(file string) ([]byte, error) {
	real, err := filepath.EvalSymlinks(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &loadError{"does not exist"}
	}
	if err == nil && (l.root == "" || !below(l.root, real)) {
		return nil, &loadError{"is outside of the configuration's directory"}
	}
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(real); err == nil {
			return text, nil
		}
	}
	return nil, &loadError{"can't be read"}
}

func below(dir, file string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}

// notJSON says where a text is not JSON.
func notJSON(text []byte) string {
	var syntax *json.SyntaxError
	var doc json.RawMessage
	if err := json.Unmarshal(text, &doc); !errors.As(err, &syntax) {
		return "is not one JSON document"
	}
	before := text[:min(int(syntax.Offset), len(text))]
	return fmt.Sprintf("is not JSON from line %d on", 1+bytes.Count(before, []byte("\n")))
}

// collect remembers which members a schema describes: their names are the schema author's words.
func (l *loader) collect(doc any) {
	switch doc := doc.(type) {
	case map[string]any:
		for key, value := range doc {
			if members, ok := value.(map[string]any); ok && key == "properties" {
				for name := range members {
					l.names[name] = true
				}
			}
			l.collect(value)
		}
	case []any:
		for _, value := range doc {
			l.collect(value)
		}
	}
}

// shown is a URL as people know it.
func (l *loader) shown(where string) string {
	where, fragment, _ := strings.Cut(where, "#")
	if fragment != "" {
		fragment = "#" + fragment
	}
	if name, ok := strings.CutPrefix(where, shippedScheme+":///"); ok {
		return strings.TrimSuffix(name, ".json") + fragment
	}
	if u, err := url.Parse(where); err == nil && u.Scheme == "file" {
		if rel, err := filepath.Rel(l.root, filepath.FromSlash(u.Path)); err == nil {
			return filepath.ToSlash(rel) + fragment
		}
	}
	return where + fragment
}

// explain says what is wrong with a schema.
func (l *loader) explain(name string, err error) error {
	var load *jsonschema.LoadURLError
	var own *loadError
	var invalid *jsonschema.SchemaValidationError
	var broken *jsonschema.ValidationError
	var noPointer *jsonschema.JSONPointerNotFoundError
	var noAnchor *jsonschema.AnchorNotFoundError
	var regex *jsonschema.InvalidRegexError
	switch {
	case errors.As(err, &load) && errors.As(load.Err, &own):
		what := l.shown(load.URL)
		if what == name {
			return fmt.Errorf("%s %s", name, own.text)
		}
		return fmt.Errorf("%s refers to %s, which %s", name, what, own.text)
	case errors.As(err, &invalid) && errors.As(invalid.Err, &broken):
		return fmt.Errorf("%s is not a JSON Schema: %s", l.shown(invalid.URL), summary(broken, nil, nil))
	case errors.As(err, &noPointer):
		return fmt.Errorf("%s refers to %s, which is not there", name, l.shown(noPointer.URL))
	case errors.As(err, &noAnchor):
		return fmt.Errorf("%s refers to %s, which is not there", name, l.shown(noAnchor.Reference))
	case errors.As(err, &regex):
		return fmt.Errorf("%s has a regular expression that is none, or that Go's don't know, at %s", name, l.shown(regex.URL))
	}
	return fmt.Errorf("%s can't be compiled: %s", name, strings.ReplaceAll(err.Error(), "file://"+l.root+"/", ""))
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// mark is on every value that came from env, secret or file: HCL does not print marked values.
type mark string

const sensitive mark = "sensitive"

// The longest that is read of a secret, of HCL and of a file, in bytes: a device or a wrong name must not eat the memory.
const (
	maxSecret = 1 << 20
	maxHCL    = 1 << 20
	maxFile   = 16 << 20
)

// outside are the functions that look outside the configuration. Each value is read once, so that an expression that is
// evaluated for every record reads no file.
type outside struct {
	dir       string // of the .hcl files
	secrets   string
	lookupEnv func(string) (string, bool)

	mu   sync.Mutex
	read map[string]string // by function and argument
}

// outsideNames are the functions whose arguments must be constant and may be shown.
var outsideNames = map[string]bool{"env": true, "secret": true, "file": true}

// cause is the error of a function in the words of a diagnostic.
type cause struct{ summary, detail string }

func (c *cause) Error() string { return strings.TrimSuffix(c.detail, ".") }

func (o *outside) function(name string, get func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			key := name + "\x00" + args[0].AsString()
			text, ok := o.read[key]
			if !ok {
				var err error
				if text, err = get(args[0].AsString()); err != nil {
					return cty.UnknownVal(cty.String), err
				}
				o.read[key] = text
			}
			return cty.StringVal(text).Mark(sensitive), nil
		},
	})
}

// values are all texts that were read.
func (o *outside) values() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var texts []string
	for _, text := range o.read {
		texts = append(texts, text)
	}
	return texts
}

// secretValues are those that secret() gave.
func (o *outside) secretValues() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var texts []string
	for key, text := range o.read {
		if strings.HasPrefix(key, "secret\x00") {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return texts
}

func (o *outside) env(name string) (string, error) {
	text, ok := o.lookupEnv(name)
	if !ok {
		return "", &cause{"Missing environment variable", fmt.Sprintf("The environment variable %q is not set.", name)}
	}
	return text, nil
}

func (o *outside) secret(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return "", &cause{"Invalid name of a secret", fmt.Sprintf(
			"The name of a secret is the name of a file in %s, without any directory.", o.secrets)}
	}
	text, err := readBounded(filepath.Join(o.secrets, name), maxSecret)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &cause{"Missing secret", fmt.Sprintf("There is no file %q in %s, where secrets are read from.%s",
			name, o.secrets, meant(name, filesIn(o.secrets)))}
	}
	if err != nil {
		return "", &cause{"Unreadable secret", fmt.Sprintf("The secret %q in %s can't be read: %s.", name, o.secrets, reason(err))}
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", &cause{"Empty secret", fmt.Sprintf("The file %q in %s holds nothing but white space.", name, o.secrets)}
	}
	return text, nil
}

func (o *outside) file(name string) (string, error) {
	path := absolute(o.dir, name)
	text, err := readBounded(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &cause{"Missing file", fmt.Sprintf("There is no file %q. A relative path starts at the directory of the .hcl file.%s",
			name, meant(filepath.Base(path), filesIn(filepath.Dir(path))))}
	}
	if err != nil {
		return "", &cause{"Unreadable file", fmt.Sprintf("The file %q can't be read: %s.", name, reason(err))}
	}
	return text, nil
}

func readBounded(path string, limit int64) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case info.Size() > limit:
		return "", fmt.Errorf("it is longer than %d bytes", limit)
	}
	data, err := os.ReadFile(path)
	if err == nil && !utf8.Valid(data) {
		err = errors.New("it is not text in UTF-8")
	}
	return string(data), err
}

// reason is the last error of a chain: what the system said, without the path that the message has already.
func reason(err error) string {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

func filesIn(dir string) []string {
	entries, _ := os.ReadDir(dir) // only for a suggestion
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

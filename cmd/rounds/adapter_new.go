// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/examples"
)

func newAdapterNewCommand() *cobra.Command {
	var dir, module, sdk string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a small adapter, with tests, to start from",
		Long: `Writes a Go module with an adapter that is whole: a feed that is asked for what changed since an instant, a resource, a conformance test with
a small EHR, and a configuration with a mapping. It builds, passes and validates as it stands.

Rounds is not published as a module yet. Until it is, the adapter is built against a checkout of it: the one that this command runs in, or
--sdk. Go has to be installed. Nothing is overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			a := newAdapter{name: args[0], dir: dir, module: module}
			if err := a.check(); err != nil {
				return err
			}
			if err := a.use(c.Context(), sdk); err != nil {
				return &failure{err}
			}
			names, err := a.write()
			if err != nil {
				return &failure{err}
			}
			fmt.Fprintf(c.OutOrStdout(), `%[1]s has %[2]s.

It is built against the checkout of Rounds in %[3]s, as go.mod says by replace: Rounds is not published as a module yet.

    cd %[1]s
    go build -o %[4]s .
    go test .
    rounds validate clinic.hcl
`, a.dir, strings.Join(names, ", "), a.checkout, a.program())
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "`DIR` to write into, which is made; without it adapter-NAME")
	c.Flags().StringVar(&module, "module", "", "`PATH` of the module; without it example.com/adapter-NAME")
	c.Flags().StringVar(&sdk, "sdk", "", "`DIR` of a checkout of Rounds; without it the one that this command runs in")
	_ = c.MarkFlagDirname("dir") // both flags are defined on the lines above
	_ = c.MarkFlagDirname("sdk") // as above
	return c
}

// newAdapter is an adapter that is to be written.
type newAdapter struct {
	name, dir, module string
	checkout          string   // of Rounds
	goVersion         string   // that the checkout asks for
	needs             []string // modules that the adapter is built of, beside Rounds, with their versions
}

// An adapter's name is that of a directory and a program too.
var adapterName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

var modulePath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)*$`)

// check checks the command line.
func (a *newAdapter) check() error {
	if !adapterName.MatchString(a.name) {
		return fmt.Errorf("%q can't be an adapter's name: it begins with a letter and holds lower-case letters, digits and hyphens, 40 at most", a.name)
	}
	if bundled[a.name] != nil {
		return fmt.Errorf("an adapter %q is bundled with rounds; give yours another name", a.name)
	}
	if a.dir == "" {
		a.dir = a.program()
	}
	if a.module == "" {
		a.module = "example.com/" + a.program()
	}
	if !modulePath.MatchString(a.module) {
		return fmt.Errorf("%q can't be the path of a module, such as example.com/adapter-acme", a.module)
	}
	return nil
}

func (a *newAdapter) program() string { return "adapter-" + a.name }

const roundsModule = "github.com/rounds-engine/rounds"

// use finds a checkout of Rounds, and what an adapter needs that is built against it.
func (a *newAdapter) use(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("there is no go command, which builds adapters: https://go.dev/doc/install")
	}
	module, err := goList(ctx, dir, "-m", "-f", "{{.Path}}\n{{.Dir}}\n{{.GoVersion}}")
	is := err == nil && len(module) == 3 && module[0] == roundsModule
	switch {
	case !is && dir == "":
		return fmt.Errorf("this directory is not in a checkout of Rounds, and %s is not published as a module yet: name a checkout by --sdk", roundsModule)
	case err != nil:
		return fmt.Errorf("%s is not a checkout of Rounds: %w", dir, err)
	case !is:
		return fmt.Errorf("%s is not a checkout of Rounds", dir)
	}
	a.checkout, a.goVersion = module[1], module[2]
	// What go mod tidy would write, without asking anybody.
	all, err := goList(ctx, a.checkout, "-deps", "-test", "-f", "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{end}}{{end}}", "./examples/"+template)
	if err != nil {
		return fmt.Errorf("the checkout of Rounds in %s does not build: %w", a.checkout, err)
	}
	slices.Sort(all)
	a.needs = slices.Compact(all)
	return nil
}

// goList gives the lines that go list prints for the module of a directory.
func goList(ctx context.Context, dir string, args ...string) ([]string, error) {
	c := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off")
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, err
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' || r == '\r' }), nil
}

// template is the adapter that others are made of, in the directory of examples.
const template = "adapter-minimal"

// write writes the module and gives the names of its files.
func (a *newAdapter) write() (names []string, err error) {
	there, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s can't be read: %w", a.dir, err)
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("nothing was written: %s is not empty; choose another directory by --dir", a.dir)
	}
	files, err := a.files()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return nil, notWritten(a.dir, err)
	}
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := create(filepath.Join(a.dir, name), []byte(files[name]), 0o644); err != nil {
			return nil, notWritten(filepath.Join(a.dir, name), err)
		}
	}
	return names, nil
}

// files are those of the example, under the adapter's name, and what makes them a module.
func (a *newAdapter) files() (map[string]string, error) {
	sums, err := os.ReadFile(filepath.Join(a.checkout, "go.sum"))
	if err != nil {
		return nil, fmt.Errorf("the checkout of Rounds: %w", err)
	}
	files := map[string]string{
		"go.mod": a.goMod(), "go.sum": string(sums), ".gitignore": "/" + a.program() + "\n/.rounds/\n",
	}
	entries, err := examples.Files.ReadDir(template)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := examples.Files.ReadFile(template + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		own := string(text)
		if _, rest, ok := strings.Cut(own, "SPDX-License-Identifier: Apache-2.0\n\n"); ok { // it is the author's file now
			own = rest
		}
		files[e.Name()] = strings.ReplaceAll(own, "minimal", a.name)
	}
	files["README.md"] += fmt.Sprintf("\n## The module\n\n"+
		"`go.mod` replaces `%[1]s` by a checkout, in `%[2]s`, as Rounds is not published as a module yet. Once it is, require a version of it:\n\n"+
		"    go mod edit -dropreplace=%[1]s\n    go get %[1]s@latest\n    go mod tidy\n", roundsModule, a.checkout)
	return files, nil
}

func (a *newAdapter) goMod() string {
	to := a.checkout
	if strings.ContainsAny(to, " \t'`\"()[]{},;\\") {
		to = strconv.Quote(to)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "module %s\n\ngo %s\n\nrequire %s v0.0.0\n\nrequire (\n", a.module, a.goVersion, roundsModule)
	for _, need := range a.needs {
		fmt.Fprintf(&b, "\t%s // indirect\n", need)
	}
	fmt.Fprintf(&b, ")\n\n// Until Rounds is published as a module.\nreplace %s => %s\n", roundsModule, to)
	return b.String()
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/config"
)

func newFmtCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "fmt [PATH…]",
		Short: "Bring configurations into the usual layout",
		Long: `Brings .hcl files into the usual layout and prints the names of those that it changed. A path is a file or a directory, whose .hcl
files are meant (default: the working directory); - formats standard input to standard output. A file that does not parse
is left as it is, with exit code 1.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			f := formatter{c, check, false}
			for _, path := range args {
				if err := f.path(path); err != nil {
					return &failure{err}
				}
			}
			if f.failed {
				return &failure{}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing, print the names of the files that differ, and exit with 1 if there are any")
	return c
}

type formatter struct {
	c      *cobra.Command
	check  bool
	failed bool // something is not as it should be, and has been shown
}

func (f *formatter) path(path string) error {
	if path == "-" {
		src, err := io.ReadAll(f.c.InOrStdin())
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		out, err := f.format("standard input", src)
		if out == nil || f.check {
			return err
		}
		_, err = f.c.OutOrStdout().Write(out)
		return err
	}
	names, diags := config.FileNames(path)
	if len(diags) > 0 {
		return f.show(nil, diags)
	}
	for _, name := range names {
		if err := f.file(name); err != nil {
			return err
		}
	}
	return nil
}

func (f *formatter) file(name string) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	out, err := f.format(name, src)
	if out == nil || f.check || bytes.Equal(src, out) {
		return err
	}
	fmt.Fprintln(f.c.OutOrStdout(), name)
	return os.WriteFile(name, out, 0o600) // which keeps the mode and the owner of a file that exists
}

// format gives the layout of a file, nil when it does not parse. It shows what is wrong.
func (f *formatter) format(name string, src []byte) ([]byte, error) {
	out, files, diags := config.Format(name, src)
	if len(diags) > 0 {
		return nil, f.show(files, diags)
	}
	if f.check && !bytes.Equal(src, out) {
		fmt.Fprintln(f.c.OutOrStdout(), name)
		f.failed = true
	}
	return out, nil
}

func (f *formatter) show(files config.Files, diags hcl.Diagnostics) error {
	f.failed = true
	stderr := f.c.ErrOrStderr()
	return config.WriteDiagnostics(stderr, files, diags, isTerminal(stderr), 100)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/scripts"
)

//go:embed starter
var starter embed.FS

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a working configuration to start from",
		Long: `Writes a configuration that runs as it stands, against the sample EHR of "rounds demo --serve", into a directory (the current one
if none is given): HCL, a mapping in TypeScript, and what an editor needs to complete and check it. It overwrites nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			names, err := writeStarter(dir)
			if err != nil {
				return &failure{err}
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "%s has %s.\n\nSee it work: in one terminal the sample EHR and a receiver,\n\n    rounds demo --serve\n\n"+
				"and in another the engine:\n\n    rounds validate %[1]s\n    rounds run %[1]s\n", dir, strings.Join(names, ", "))
			return nil
		},
	}
}

// writeStarter writes the files and gives their names. When one of them is there already it writes none.
func writeStarter(dir string) ([]string, error) {
	files := map[string][]byte{"rounds.d.ts": scripts.Types}
	names := []string{"rounds.d.ts"}
	entries, err := starter.ReadDir("starter")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if files[e.Name()], err = starter.ReadFile("starter/" + e.Name()); err != nil {
			return nil, err
		}
		names = append(names, e.Name())
	}
	slices.Sort(names)
	var there []string
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			there = append(there, name)
		}
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("nothing was written: %s already has %s; choose another directory or move them away",
			dir, strings.Join(there, ", "))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, notWritten(dir, err)
	}
	for _, name := range names {
		if err := create(filepath.Join(dir, name), files[name]); err != nil {
			return nil, notWritten(filepath.Join(dir, name), err)
		}
	}
	return names, nil
}

// create writes a file that must not be there yet.
func create(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func notWritten(path string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Errorf("%s can't be written: %w", path, err)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

func newBackupCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the state, while the engine works",
		Long: `Writes all of the state, as it is at one instant, into a file; "-" is the standard output. The engine goes on meanwhile. The file
appears under its name when it is whole. It holds patients' data, and is encrypted if the state is.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				if args[0] == "-" {
					return e.Backup(ctx, c.OutOrStdout())
				}
				size, err := backupTo(ctx, e, args[0])
				if err != nil {
					return err
				}
				return say(c, asJSON, map[string]any{"file": args[0], "bytes": size}, "The backup is in %s: %d bytes.\n", args[0], size)
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

// backupTo writes beside the file first, so that the name only ever has a whole backup.
func backupTo(ctx context.Context, e operate.Engine, file string) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part*") // which is its owner's alone
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = e.Backup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), file)
}

func newRestoreCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a state of a backup",
		Long: `Makes a state of a backup, in a directory that is empty or does not exist; "-" is the standard input. What was accepted after the backup
was made is delivered again, with the same ids; what changed since is polled again: nothing is lost.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if errors.Is(err, fs.ErrNotExist) {
					return &failure{fmt.Errorf("there is no file %q", args[0])}
				}
				if err != nil {
					return &failure{err}
				}
				defer func() { _ = f.Close() }() // it was only read
				in = f
			}
			e, err := newEngine(slog.New(slog.DiscardHandler), state, 0, nil)
			if err != nil {
				return &failure{err}
			}
			if err := finish(e, func() error { return e.Restore(in) }); err != nil {
				return err
			}
			return say(c, asJSON, map[string]any{"state": state.dir}, "The state is in %s.\n", state.dir)
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

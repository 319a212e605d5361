// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/operate"
)

// stateFlags say where the state is, and what it is encrypted with.
type stateFlags struct{ dir, keyFile string }

// keyVariable is the environment's variable that holds the key of the state, where no file is named.
const keyVariable = "ROUNDS_STATE_KEY"

func (s *stateFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&s.dir, "state", ".rounds", "directory of the state: watermarks, rows, outbox, dead letters")
	c.Flags().StringVar(&s.keyFile, "state-key", "", "`FILE` with the key that encrypts the state: 32 random bytes as 64 hexadecimal digits; without it $"+keyVariable)
	_ = c.MarkFlagDirname("state")      // both flags are defined on the lines above
	_ = c.MarkFlagFilename("state-key") // as above
}

// key gives the key of the state; empty: it is not encrypted.
func (s *stateFlags) key() ([]byte, error) {
	if s.keyFile == "" {
		return stateKey("$"+keyVariable, os.Getenv(keyVariable))
	}
	return keyFrom(s.keyFile)
}

func keyFrom(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the key of the state can't be read: %w", err)
	}
	key, err := stateKey(file, string(text))
	if err == nil && key == nil {
		err = fmt.Errorf("the key of the state in %s is empty", file)
	}
	return key, err
}

// stateKey reads a key. An error does not show it.
func stateKey(where, text string) ([]byte, error) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("the key of the state in %s is not 32 bytes as 64 hexadecimal digits, as openssl rand -hex 32 makes it", where)
	}
	return key, nil
}

// configuration is where an operator's command has the configuration from when no engine runs that has one.
type configuration struct {
	path   string
	values valueFlags
}

func (f *configuration) add(c *cobra.Command) {
	c.Flags().StringVar(&f.path, "config", "", "configuration to map with when no engine is running, a `FILE` or directory")
	f.values.add(c)
}

// operating does an operator's work on the engine that runs on the state, or on the state itself when none does, and says which. A
// configuration is read in the second case, if the work has a use for one (else nil).
func operating(c *cobra.Command, state stateFlags, from *configuration, work func(context.Context, operate.Engine) error) error {
	ctx := c.Context()
	client, err := operate.Dial(ctx, state.dir)
	switch {
	case err == nil:
		fmt.Fprintf(c.ErrOrStderr(), "The engine that runs on %s answers.\n", state.dir)
		return failed(work(ctx, client))
	case !errors.Is(err, operate.ErrNotRunning):
		return &failure{err}
	}
	fmt.Fprintf(c.ErrOrStderr(), "No engine is running on %s; this is about the state itself.\n", state.dir)
	e, err := newEngine(slog.New(slog.DiscardHandler), state, 0, nil)
	if err != nil {
		return &failure{err}
	}
	return finish(e, func() error {
		var cfg *config.Config
		if from != nil && from.path != "" {
			if cfg, err = load(ctx, e, from.path, from.values, c.ErrOrStderr()); err != nil {
				return err
			}
		}
		return e.Offline(operate.As(ctx, "command"+whoami()), cfg, func(ctx context.Context) error { return work(ctx, e) })
	})
}

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

func whoami() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return ", uid " + u.Uid
}

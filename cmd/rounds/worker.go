// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/sdk"
)

const workerCommand = "worker"

func newWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    workerCommand,
		Short:  "Map for the engine; it starts this, not a person",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Getenv(sdk.CookieVariable) != sdk.CookieValue {
				return errors.New("the engine starts this, when a configuration has a pipeline with isolate = true")
			}
			if err := worker.Serve(&hidingReader{Reader: bufio.NewReader(os.Stdin)}, os.Stdout, worker.Memory); err != nil {
				return &failure{err}
			}
			return nil
		},
	}
}

// hidingReader hides the process when the first record may come: until then the engine sets it up.
type hidingReader struct {
	*bufio.Reader
	hidden bool
}

func (r *hidingReader) Read(b []byte) (int, error) {
	if !r.hidden {
		_, _ = r.Peek(1) // the error is that of the read
		hideMemory()
		r.hidden = true
	}
	return r.Reader.Read(b)
}

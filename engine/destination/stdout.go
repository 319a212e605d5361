// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"context"
	"io"
	"os"

	"github.com/rounds-engine/rounds/engine/delivery"
)

type stdoutConfig struct {
	_ struct{} `doc:"Prints each notification as one line of JSON. For trying things out: what reads it can't acknowledge."`
}

func (c *stdoutConfig) check() error { return nil }

func (c *stdoutConfig) open() Destination { return newStdout(os.Stdout) }

// stdout writes to a pipe or a terminal: what the reader does with it is not known.
type stdout struct{ lines lines }

func newStdout(w io.Writer) *stdout {
	torn := false // the last write ended within a line
	return &stdout{lines{
		write: func(buf []byte) error {
			if torn {
				buf = append([]byte("\n"), buf...)
			}
			n, err := w.Write(buf)
			if n > 0 {
				torn = buf[n-1] != '\n'
			}
			if err != nil {
				return ioError("stdout", "cannot write to standard output", err)
			}
			return nil
		},
		finish: func() error { return nil },
	}}
}

func (s *stdout) Send(ctx context.Context, n delivery.Notification) error {
	body, err := oneLine(n.Body)
	if err != nil {
		return err
	}
	line := make([]byte, 0, len(body)+1)
	return s.lines.add(ctx, append(append(line, body...), '\n'))
}

func (s *stdout) Close() error { return s.lines.close() }

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"io"
	"log/slog"

	"google.golang.org/grpc"

	"github.com/rounds-engine/rounds/sdk"
)

// Direct is one life of an adapter's program for someone who speaks to it without the host, as the conformance kit does: it is not
// started again, and nothing that it says is kept back.
type Direct struct {
	Client *sdk.Client
	PID    int
	i      *instance
	t      timings
}

// Direct starts a program, as for a source, with further variables in its environment. Calls go through tap; what it writes to stdout and
// stderr, log lines of every level included, goes to output.
func (h *Host) Direct(
	ctx context.Context, a Adapter, tap grpc.UnaryClientInterceptor, output io.Writer, environment []string,
) (*Direct, error) {
	p := newProcess(h, key{adapter: a})
	p.logger, p.level = slog.New(slog.DiscardHandler), slog.LevelDebug.String()
	p.raw, p.environment, p.dial = output, environment, []grpc.DialOption{grpc.WithChainUnaryInterceptor(tap)}
	defer context.AfterFunc(ctx, p.abort)()
	i, err := launch(p)
	if err != nil {
		return nil, err
	}
	return &Direct{Client: i.client, PID: i.pid, i: i, t: h.t}, nil
}

// End ends the program and returns when it has ended.
func (d *Direct) End() { d.i.stop(d.t.stop) }

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// adapter is what Serve was given, its configuration's type behind closures.
type adapter struct {
	info   Info
	schema schema.Schema
	decode func(config []byte) (any, error) // and validate
	open   func(ctx context.Context, config any, env Env) (Source, error)
}

func newAdapter[C any](info Info, open func(context.Context, C, Env) (Source, error)) (adapter, error) {
	a := adapter{info: info}
	var err error
	if a.schema, err = schema.Of(new(C)); err != nil {
		return a, err
	}
	a.decode = func(config []byte) (any, error) {
		c := new(C)
		if err := schema.Decode(config, c); err != nil {
			return nil, configError(err)
		}
		if v, ok := any(c).(Validator); ok { // *C has C's methods too
			if err := v.Validate(); err != nil {
				return nil, configError(err)
			}
		}
		return *c, nil
	}
	a.open = func(ctx context.Context, config any, env Env) (Source, error) { return open(ctx, config.(C), env) }
	return a, nil
}

// server is an adapter's side of the connection.
type server struct {
	pb.UnimplementedAdapterServer
	adapter  adapter
	logger   *slog.Logger
	saves    saves
	debugged bool // a debugger reads its memory

	mu      sync.Mutex
	sources map[uint64]*served
}

// What hundreds of sources keep while they wait says nothing of how much their calls throw away: from a crowd on, garbage may grow to less
// than what is kept, and not to as much again, before it is collected.
const (
	crowd     = 500
	crowdedGC = 30 // percent
)

// served is a source between the begin of Open and the begin of Close.
type served struct {
	source Source // nil until it is opened
	calls  sync.WaitGroup
}

func newServer(a adapter, logger *slog.Logger) *server {
	s := &server{adapter: a, logger: logger, sources: map[uint64]*served{}}
	s.saves.init()
	return s
}

// hideMemory comes before a configuration, which holds secrets.
func (s *server) hideMemory() {
	if !s.debugged {
		hideMemory()
	}
}

func (s *server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{Info: infoToWire(s.adapter.info), Schema: schemaToWire(s.adapter.schema)}, nil
}

func (s *server) Validate(_ context.Context, r *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	s.hideMemory()
	_, err := s.adapter.decode(r.GetConfig())
	return &pb.ValidateResponse{}, err
}

func (s *server) Open(ctx context.Context, r *pb.OpenRequest) (_ *pb.OpenResponse, err error) {
	s.hideMemory()
	config, err := s.adapter.decode(r.GetConfig())
	if err != nil {
		return nil, err
	}
	handle, opening := r.GetHandle(), &served{}
	opening.calls.Add(1) // a Close that comes meanwhile waits
	defer opening.calls.Done()
	s.mu.Lock()
	taken := s.sources[handle] != nil
	if !taken {
		s.sources[handle] = opening
	}
	if len(s.sources) == crowd {
		debug.SetGCPercent(crowdedGC)
	}
	s.mu.Unlock()
	if taken {
		return nil, Permanent("Open: the handle is in use")
	}
	defer func() {
		if opening.source != nil {
			return
		}
		s.mu.Lock()
		delete(s.sources, handle)
		s.mu.Unlock()
	}()
	if err := ctx.Err(); err != nil { // the engine may have closed the handle before it was there
		return nil, err
	}
	source, err := s.adapter.open(ctx, config, Env{
		Logger: s.logger.With("source", r.GetSource()),
		Source: r.GetSource(),
		State: NewState(r.GetState(), func(ctx context.Context, state []byte) error {
			return s.saves.save(ctx, handle, state)
		}),
	})
	switch {
	case err != nil:
		return nil, err
	case source == nil:
		return nil, Permanent("Open: the adapter gave neither a source nor an error")
	}
	defer func() {
		if opening.source == nil {
			_ = source.Close() // its catalog panicked, which is the error
		}
	}()
	catalog := source.Catalog()
	s.mu.Lock()
	opening.source = source
	s.mu.Unlock()
	opened := &pb.OpenResponse{}
	opened.Feeds, opened.Resources = catalogToWire(catalog)
	return opened, nil
}

// use gives an open source for the time of a call, which ends with done.
func (s *server) use(handle uint64) (_ Source, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.sources[handle]
	if o == nil || o.source == nil {
		return nil, nil, Retryable("the source is not open in the adapter")
	}
	o.calls.Add(1)
	return o.source, o.calls.Done, nil
}

func (s *server) Poll(ctx context.Context, r *pb.PollRequest) (*pb.PollResponse, error) {
	source, done, err := s.use(r.GetHandle())
	if err != nil {
		return nil, err
	}
	defer done()
	page, err := source.Poll(ctx, queryFromWire(r))
	if err != nil {
		return nil, err
	}
	return pageToWire(page), nil
}

func (s *server) Fetch(ctx context.Context, r *pb.FetchRequest) (*pb.FetchResponse, error) {
	source, done, err := s.use(r.GetHandle())
	if err != nil {
		return nil, err
	}
	defer done()
	results, err := source.Fetch(ctx, refsFromWire(r.GetRefs()))
	if err != nil {
		return nil, err
	}
	return &pb.FetchResponse{Results: resultsToWire(results)}, nil
}

func (s *server) Ack(ctx context.Context, r *pb.AckRequest) (*pb.AckResponse, error) {
	source, done, err := s.use(r.GetHandle())
	if err != nil {
		return nil, err
	}
	defer done()
	if a, ok := source.(Acker); ok {
		err = a.Ack(ctx, r.GetFeed(), r.GetToken())
	} else {
		err = Permanent("Ack: the adapter gave something to acknowledge and can't acknowledge")
	}
	return &pb.AckResponse{}, err
}

func (s *server) Close(ctx context.Context, r *pb.CloseRequest) (*pb.CloseResponse, error) {
	s.mu.Lock()
	o := s.sources[r.GetHandle()]
	delete(s.sources, r.GetHandle())
	s.mu.Unlock()
	if o == nil {
		return &pb.CloseResponse{}, nil
	}
	closed := make(chan error, 1)
	go func() { // it ends with the last call, even if this one's caller has gone
		defer func() {
			if v := recover(); v != nil {
				closed <- s.panicked("Close", v)
			}
		}()
		o.calls.Wait()
		if o.source == nil {
			closed <- nil
			return
		}
		closed <- o.source.Close()
	}()
	select {
	case err := <-closed:
		return &pb.CloseResponse{}, err
	case <-ctx.Done():
		return nil, Retryable("Close: calls are still under way, the source is closed after them")
	}
}

// closeAll closes what is open, each source after the calls that are under way.
func (s *server) closeAll(ctx context.Context) {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.sources))
	s.mu.Unlock()
	var closing sync.WaitGroup
	for _, handle := range open {
		closing.Go(func() {
			if _, err := s.Close(ctx, &pb.CloseRequest{Handle: handle}); err != nil {
				s.logger.Warn("a source failed to close", "error", err)
			}
		})
	}
	closing.Wait()
}

func (s *server) Saves(stream grpc.BidiStreamingServer[pb.SaveReply, pb.SaveRequest]) error {
	return s.saves.serve(stream)
}

// headroom is how much earlier than the engine's deadline an adapter's own is: so that its error, which says what it was
// waiting for, still arrives, and the engine can tell a slow server from an adapter that hangs.
func headroom(left time.Duration) time.Duration { return min(left/10, 500*time.Millisecond) }

// intercept stands around every call: deadline, panics, errors.
func (s *server) intercept(ctx context.Context, req any, call *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any,
	err error) {
	name, ours := strings.CutPrefix(call.FullMethod, "/"+pb.Adapter_ServiceDesc.ServiceName+"/")
	if !ours { // go-plugin's own
		return handler(ctx, req)
	}
	defer func() {
		if v := recover(); v != nil {
			resp, err = nil, statusToWire(s.panicked(name, v))
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-headroom(time.Until(deadline))))
		defer cancel()
	}
	if resp, err = handler(ctx, req); err != nil {
		return nil, statusToWire(err)
	}
	return resp, nil
}

// panicked turns a panic into an error: one record that an adapter can't digest must not end all its sources. What is
// logged are the names of the functions, since the value may quote the record.
func (s *server) panicked(call string, value any) error {
	s.logger.Error("the adapter panicked", "call", call, "type", fmt.Sprintf("%T", value), "stack", stack())
	return Retryable("%s: the adapter panicked; its log line has the stack", call)
}

// stack names the functions of a panic that is being recovered, innermost first, up to where the call came in.
func stack() []string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var names []string
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, "google.golang.org/grpc") {
			break
		}
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			names = append(names, fmt.Sprintf("%s:%d", f.Function, f.Line))
		}
	}
	return names
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"

	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// saves carries what a State stores from the adapter to the engine. All other calls go the other way, so the engine opens one stream
// for them, on which the adapter asks and the engine answers.
type saves struct {
	ready chan struct{} // closed when the stream stands

	mu     sync.Mutex
	stream grpc.BidiStreamingServer[pb.SaveReply, pb.SaveRequest]
	ended  bool
	last   uint64
	asked  map[uint64]chan error
}

func (s *saves) init() {
	s.ready = make(chan struct{})
	s.asked = map[uint64]chan error{}
}

func (s *saves) serve(stream grpc.BidiStreamingServer[pb.SaveReply, pb.SaveRequest]) error {
	s.mu.Lock()
	second := s.stream != nil
	if !second {
		s.stream = stream
		close(s.ready)
	}
	s.mu.Unlock()
	if second {
		return statusToWire(Permanent("Saves: the stream stands already"))
	}
	for {
		reply, err := stream.Recv()
		s.mu.Lock()
		if err != nil {
			s.ended = true
			for _, answer := range s.asked {
				answer <- errNoEngine
			}
			s.asked = nil
			s.mu.Unlock()
			return nil // the engine has gone: there is nobody to tell
		}
		if answer, ok := s.asked[reply.GetId()]; ok {
			answer <- errorFromWire(reply.GetError())
			delete(s.asked, reply.GetId())
		}
		s.mu.Unlock()
	}
}

var errNoEngine = Retryable("saving state: the engine has gone")

func (s *saves) save(ctx context.Context, handle uint64, state []byte) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return Safe(ctx.Err())
	}
	answer := make(chan error, 1)
	id, err := s.ask(handle, state, answer)
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.asked, id)
		s.mu.Unlock()
		return Retryable("saving state: deadline exceeded or canceled; it may have been saved").Because(ctx.Err())
	}
}

func (s *saves) ask(handle uint64, state []byte, answer chan error) (id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, errNoEngine
	}
	s.last++
	s.asked[s.last] = answer
	err = s.stream.Send(&pb.SaveRequest{Id: s.last, Handle: handle, State: slices.Clone(state)})
	if err != nil {
		delete(s.asked, s.last)
		return 0, errNoEngine
	}
	return s.last, nil
}

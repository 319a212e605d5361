// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	pb "github.com/rounds-engine/rounds/sdk/proto"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// closeLost is how long the closing of a source may take whose opening had no answer.
const closeLost = 30 * time.Second

// Client is the engine's side of a connection to an adapter; adapters have no use for it. Its errors are *Error: the
// adapter's own, or one with ErrNoAnswer in its chain.
type Client struct {
	rpc pb.AdapterClient

	mu   sync.Mutex
	last uint64
	save map[uint64]func(context.Context, []byte) error // by handle
}

// NewClient speaks to the adapter at the other end of conn, until ctx ends.
func NewClient(ctx context.Context, conn grpc.ClientConnInterface) (*Client, error) {
	c := &Client{rpc: pb.NewAdapterClient(conn), save: map[uint64]func(context.Context, []byte) error{}}
	stream, err := c.rpc.Saves(ctx)
	if err != nil {
		return nil, statusFromWire(ctx, "Saves", err)
	}
	go c.answerSaves(ctx, stream)
	return c, nil
}

// answerSaves ends with the connection.
func (c *Client) answerSaves(ctx context.Context, stream grpc.BidiStreamingClient[pb.SaveReply, pb.SaveRequest]) {
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		c.mu.Lock()
		save := c.save[r.GetHandle()]
		c.mu.Unlock()
		err = Retryable("saving state: the source is not open")
		if save != nil {
			err = save(ctx, r.GetState())
		}
		if stream.Send(&pb.SaveReply{Id: r.GetId(), Error: errorToWire(err)}) != nil {
			return
		}
	}
}

// Describe tells who the adapter is and how it is configured.
func (c *Client) Describe(ctx context.Context) (Info, schema.Schema, error) {
	r, err := c.rpc.Describe(ctx, &pb.DescribeRequest{})
	if err != nil {
		return Info{}, schema.Schema{}, statusFromWire(ctx, "Describe", err)
	}
	info, err := infoFromWire(r.GetInfo())
	return info, schemaFromWire(r.GetSchema()), err
}

// Validate checks a configuration in its JSON form, offline.
func (c *Client) Validate(ctx context.Context, config []byte) error {
	_, err := c.rpc.Validate(ctx, &pb.ValidateRequest{Config: config})
	return statusFromWire(ctx, "Validate", err)
}

// Opening says which source to open.
type Opening struct {
	Source string // its name, "rest.clinic"
	Config []byte // JSON
	State  []byte // what was saved last; nil: nothing
	// Save keeps what the adapter saves; it is called from before Open returns until after Close. Saves of one process come
	// one after another.
	Save func(ctx context.Context, state []byte) error
}

// Opened is a source that is open in the adapter.
type Opened struct {
	c       *Client
	handle  uint64
	catalog Catalog
}

// Open opens a source.
func (c *Client) Open(ctx context.Context, o Opening) (*Opened, error) {
	c.mu.Lock()
	c.last++
	opened := &Opened{c: c, handle: c.last}
	c.save[opened.handle] = o.Save
	c.mu.Unlock()
	r, err := c.rpc.Open(ctx, &pb.OpenRequest{Handle: opened.handle, Source: valid(o.Source), Config: o.Config, State: o.State})
	if err == nil {
		opened.catalog, err = catalogFromWire(r.GetFeeds(), r.GetResources())
	} else {
		err = statusFromWire(ctx, "Open", err)
	}
	if err == nil {
		return opened, nil
	}
	go func() { // it may be open all the same: only the answer failed to arrive, or to please
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLost)
		defer cancel()
		_ = opened.Close(ctx) // fails if the process has gone, and then nothing is open
	}()
	return nil, err
}

// Catalog is what the source offers.
func (o *Opened) Catalog() Catalog { return o.catalog }

type modestKey struct{}

// Modest gives a context with which Poll and Fetch fail, by ErrTooLarge, rather than read an answer of more than ModestAnswer bytes.
func Modest(ctx context.Context) context.Context { return context.WithValue(ctx, modestKey{}, true) }

func isModest(ctx context.Context) bool { return ctx.Value(modestKey{}) != nil }

func answerLimit(ctx context.Context) (o []grpc.CallOption) {
	if isModest(ctx) {
		o = append(o, grpc.MaxCallRecvMsgSize(ModestAnswer))
	}
	return o
}

// Poll is Source.Poll.
func (o *Opened) Poll(ctx context.Context, q Query) (Page, error) {
	r, err := o.c.rpc.Poll(ctx, queryToWire(o.handle, q), answerLimit(ctx)...)
	if err != nil {
		return Page{}, statusFromWire(ctx, "Poll", err)
	}
	return pageFromWire(r), nil
}

// Fetch is Source.Fetch. A Result for each ref, in order, is made sure of.
func (o *Opened) Fetch(ctx context.Context, refs []Ref) ([]Result, error) {
	r, err := o.c.rpc.Fetch(ctx, &pb.FetchRequest{Handle: o.handle, Refs: refsToWire(refs)}, answerLimit(ctx)...)
	if err != nil {
		return nil, statusFromWire(ctx, "Fetch", err)
	}
	results := resultsFromWire(r.GetResults())
	if err := matches(refs, results); err != nil {
		return nil, err
	}
	return results, nil
}

// Ack is Acker.Ack.
func (o *Opened) Ack(ctx context.Context, feed string, token []byte) error {
	_, err := o.c.rpc.Ack(ctx, &pb.AckRequest{Handle: o.handle, Feed: valid(feed), Token: token})
	return statusFromWire(ctx, "Ack", err)
}

// Close closes the source after the calls that are under way, which it waits for as long as ctx allows.
func (o *Opened) Close(ctx context.Context) error {
	_, err := o.c.rpc.Close(ctx, &pb.CloseRequest{Handle: o.handle})
	err = statusFromWire(ctx, "Close", err)
	if err == nil { // else a call may still be under way, which may still save
		o.c.mu.Lock()
		delete(o.c.save, o.handle)
		o.c.mu.Unlock()
	}
	return err
}

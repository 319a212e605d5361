// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rounds-engine/rounds/sdk"
	pb "github.com/rounds-engine/rounds/sdk/proto"
)

// badPrefix begins the names of the files by which this test binary is the adapter below.
const badPrefix = "bad-"

func init() {
	if strings.HasPrefix(filepath.Base(os.Args[0]), badPrefix) {
		serveAdapter = serveBad
	}
}

// bad is an adapter that breaks the promise that it is told to, without package sdk, which would keep many of them. What is right of
// it is a sequence of orders, which stand in a file, one id a line.
type bad struct {
	pb.UnimplementedAdapterServer
	sources map[uint64]*badSource // opened one after the other
	leaked  [][]byte
}

type badSource struct {
	Orders string // the file
	Fault  string // what is wrong with it
	Cured  string // a file; when it is there, nothing is wrong any more
	polls  int
	files  []*os.File
}

func (s *badSource) has(fault string) bool { return s.Fault == fault && !exists(s.Cured) }

// badStart is what is wrong with the next start of an adapter's program, by its path.
func badStart(program string) string { return program + ".fault" }

func serveBad() {
	fault, _ := os.ReadFile(badStart(os.Args[0])) // none: nothing is wrong
	version := sdk.ProtocolVersion
	switch string(fault) {
	case "exits 0":
		os.Exit(0)
	case "garbage in place of the handshake":
		fmt.Println("<html>" + canaryItem)
		select {}
	case "another version of the protocol":
		version++
	}
	b := &bad{sources: map[uint64]*badSource{}}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: sdk.CookieVariable, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{version: {"adapter": &badPlugin{server: b}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(1<<30), grpc.ForceServerCodec(noUTF8{}))...)
		},
	})
}

type badPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *bad
}

func (p *badPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterAdapterServer(s, p.server)
	return nil
}

func (*badPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

// noUTF8 lets texts on the wire be what a library for protobuf would refuse to write.
type noUTF8 struct{}

const brokenText = "~not~UTF-8~"

func (noUTF8) Name() string { return "proto" }

func (noUTF8) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }

func (noUTF8) Marshal(v any) ([]byte, error) {
	data, err := proto.Marshal(v.(proto.Message))
	if len(data) > 1<<20 {
		return data, err
	}
	return bytes.ReplaceAll(data, []byte(brokenText), []byte(strings.Repeat("\xff", len(brokenText)))), err
}

func (b *bad) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	program, err := os.Stat(os.Args[0])
	if err != nil {
		return nil, err
	}
	text := func(name string) *pb.Attribute { return &pb.Attribute{Name: name, Type: "string"} }
	return &pb.DescribeResponse{
		Info:   &pb.Info{Name: "bad", Version: fmt.Sprint(program.Size())}, // another program has another version
		Schema: &pb.Schema{Attributes: []*pb.Attribute{text("orders"), text("fault"), text("cured")}},
	}, nil
}

func (b *bad) Validate(context.Context, *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	return &pb.ValidateResponse{}, nil
}

func (b *bad) Saves(stream grpc.BidiStreamingServer[pb.SaveReply, pb.SaveRequest]) error {
	<-stream.Context().Done()
	return nil
}

// badly stands for badSources under one lock.
var badly = make(chan struct{}, 1)

func (b *bad) Open(ctx context.Context, r *pb.OpenRequest) (*pb.OpenResponse, error) {
	s := new(badSource)
	if err := json.Unmarshal(r.GetConfig(), s); err != nil {
		return nil, err
	}
	badly <- struct{}{}
	b.sources[r.GetHandle()] = s
	<-badly
	feed := &pb.Feed{Name: "orders", Kind: "order", Class: "sequence", Version: "none"}
	opened := &pb.OpenResponse{Feeds: []*pb.Feed{feed}, Resources: []*pb.Resource{{Name: "item"}}}
	switch {
	case s.Fault == "ack: no answer":
		feed.Class = "queue"
	case s.has("open: no answer"):
		time.Sleep(time.Hour)
	case s.has("catalog: a class that there is not"):
		feed.Class = strings.Repeat("tape", 1<<20)
	case s.has("catalog: another feed"), s.has("catalog: another feed after a crash") && exists(s.Orders+".crashed"):
		feed.Name = "others"
	}
	return opened, nil
}

func (b *bad) of(handle uint64) *badSource {
	badly <- struct{}{}
	defer func() { <-badly }()
	return b.sources[handle]
}

func (b *bad) Poll(_ context.Context, r *pb.PollRequest) (*pb.PollResponse, error) {
	s := b.of(r.GetHandle())
	if os.Remove(s.Orders+".end") == nil {
		os.Exit(1)
	}
	s.polls++
	if exists(s.Cured) {
		for _, f := range s.files {
			_ = f.Close()
		}
		s.files = nil
	}
	text, err := os.ReadFile(s.Orders)
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(string(text))
	read, _ := strconv.Atoi(string(r.GetWatermark()))
	page := &pb.PollResponse{Watermark: []byte(strconv.Itoa(len(ids)))}
	for _, id := range ids[read:] {
		page.Changes = append(page.Changes, &pb.Change{Ref: &pb.Ref{Kind: "order", Id: id}, Data: fmt.Appendf(nil, `{"id":%q,"lane":"all"}`, id)})
	}
	if exists(s.Cured) {
		return page, nil
	}
	if spoil := badPages[s.Fault]; spoil != nil {
		spoil(s, page)
		return page, nil
	}
	if act := badActs[s.Fault]; act != nil {
		if err := act(b, s); err != nil {
			return nil, err
		}
	}
	return page, nil
}

func (b *bad) Fetch(_ context.Context, r *pb.FetchRequest) (*pb.FetchResponse, error) {
	s, answer := b.of(r.GetHandle()), new(pb.FetchResponse)
	for _, ref := range r.GetRefs() {
		answer.Results = append(answer.Results, &pb.Result{Ref: ref, Data: fmt.Appendf(nil, `{"of":%q}`, ref.GetId())})
	}
	results := answer.Results
	switch {
	case s.has("fetch: no answer"):
		time.Sleep(time.Hour)
	case s.has("fetch: no results"):
		answer.Results = nil
	case s.has("fetch: too many results"):
		answer.Results = append(results, results...)
	case s.has("fetch: results out of order"):
		for i := range results {
			results[i].Ref = r.GetRefs()[len(results)-1-i]
		}
	case s.has("fetch: a ref that was not asked for"):
		results[0].Ref = &pb.Ref{Kind: "item", Id: canaryItem}
	case s.has("fetch: no JSON"):
		for _, x := range results {
			x.Data = []byte("<html>" + canaryItem)
		}
	case s.has("fetch: no ref"):
		for _, x := range results {
			x.Ref = nil
		}
	}
	return answer, nil
}

func (b *bad) Ack(_ context.Context, r *pb.AckRequest) (*pb.AckResponse, error) {
	if b.of(r.GetHandle()).has("ack: no answer") {
		time.Sleep(time.Hour)
	}
	return &pb.AckResponse{}, nil
}

func (b *bad) Close(_ context.Context, r *pb.CloseRequest) (*pb.CloseResponse, error) {
	if s := b.of(r.GetHandle()); s != nil && s.Fault == "close: no answer" {
		time.Sleep(time.Hour)
	}
	return &pb.CloseResponse{}, nil
}

// badPages are pages that are wrong in what they hold.
var badPages = map[string]func(*badSource, *pb.PollResponse){
	"page: no JSON":                        everyChange(func(c *pb.Change) { c.Data = []byte(`{"id":` + canaryItem) }),
	"page: JSON that is not UTF-8":         everyChange(func(c *pb.Change) { c.Data = []byte("{\"lane\":\"all\",\"id\":\"" + strings.Repeat("\xff", 3) + "\"}") }),
	"page: a text that is not UTF-8":       everyChange(func(c *pb.Change) { c.Version = brokenText }),
	"page: times that there are not":       everyChange(func(c *pb.Change) { c.Time = &timestamppb.Timestamp{Seconds: 1 << 61, Nanos: -7} }),
	"page: no ref":                         everyChange(func(c *pb.Change) { c.Ref = nil }),
	"page: an id of 100 KB":                everyChange(func(c *pb.Change) { c.Ref.Id += strings.Repeat("x", 100<<10) }),
	"page: an operation that there is not": everyChange(func(c *pb.Change) { c.Op = 77 }),
	"page: each change three times": func(_ *badSource, p *pb.PollResponse) {
		p.Changes = append(append(p.Changes, p.Changes...), p.Changes...)
	},
	"page: neither cursor nor watermark": func(_ *badSource, p *pb.PollResponse) { p.Watermark = nil },
	"page: the same cursor for ever":     func(_ *badSource, p *pb.PollResponse) { p.Cursor = []byte("again") },
	"page: a cursor of 20 MB":            func(_ *badSource, p *pb.PollResponse) { p.Cursor = make([]byte, 20<<20) },
	"page: a watermark of 20 MB":         func(_ *badSource, p *pb.PollResponse) { p.Watermark = make([]byte, 20<<20) },
	"page: a watermark before the last": func(s *badSource, p *pb.PollResponse) {
		if s.polls%2 == 1 {
			p.Cursor = fmt.Appendf(nil, "page %d", s.polls)
		}
	},
	"page: a watermark that goes back": func(s *badSource, p *pb.PollResponse) {
		if s.polls%2 == 0 {
			p.Watermark = []byte("0")
		}
	},
	"page: negative numbers": func(_ *badSource, p *pb.PollResponse) {
		p.Wait, p.Calls, p.Now = durationpb.New(-time.Hour), -1<<60, &timestamppb.Timestamp{Seconds: -1 << 61}
	},
	"page: a wait of centuries": func(_ *badSource, p *pb.PollResponse) { p.Wait = &durationpb.Duration{Seconds: 1 << 40} },
	"page: 200 MB": func(_ *badSource, p *pb.PollResponse) {
		for i, c := range p.Changes {
			c.Data = fmt.Appendf(nil, `{"id":%q,"lane":"all","large":%q}`, c.GetRef().GetId(), strings.Repeat(string(rune('a'+i%26)), 200<<20/len(p.Changes)))
		}
	},
	"page: remarks without end": func(_ *badSource, p *pb.PollResponse) {
		for i := range 100 {
			p.Notes = append(p.Notes, &pb.Note{Code: fmt.Sprint("code ", i, strings.Repeat("c", 10_000)), Text: strings.Repeat("remark ", 1<<10)})
		}
	},
}

func everyChange(spoil func(*pb.Change)) func(*badSource, *pb.PollResponse) {
	return func(_ *badSource, p *pb.PollResponse) {
		for _, c := range p.Changes {
			spoil(c)
		}
	}
}

// badActs are what an adapter does in place of a poll, or beside it.
var badActs = map[string]func(*bad, *badSource) error{
	"poll: no answer": func(*bad, *badSource) error { select {} },
	"poll: a code that there is not": func(*bad, *badSource) error {
		return wireError(&pb.Error{Code: "sideways", Text: "GET /orders: sideways"})
	},
	"poll: an error of 1 MB": func(*bad, *badSource) error {
		return wireError(&pb.Error{Code: "retryable", Text: strings.Repeat("GET /orders failed\n\x1b[31m", 40_000)})
	},
	"poll: wait for centuries": func(*bad, *badSource) error {
		return wireError(&pb.Error{Code: "rate_limited", Text: "GET /orders: 429", After: &durationpb.Duration{Seconds: 1 << 40}})
	},
	"poll: a status and no error": func(*bad, *badSource) error { return status.Error(codes.DataLoss, canaryItem) },
	"exits 0":                     func(*bad, *badSource) error { os.Exit(0); return nil },
	"crashes": func(*bad, *badSource) error {
		go func() { panic(canaryItem) }()
		select {}
	},
	"catalog: another feed after a crash": func(_ *bad, s *badSource) error {
		if err := os.WriteFile(s.Orders+".crashed", nil, 0o600); err != nil {
			return err
		}
		os.Exit(3)
		return nil
	},
	"signals": func(*bad, *badSource) error { // to all of its group
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGKILL} {
			_ = syscall.Kill(0, s)
		}
		select {}
	},
	"closes stdout": func(*bad, *badSource) error { return os.Stdout.Close() },
	"spins": func(b *bad, s *badSource) error {
		if s.polls == 1 {
			go func() {
				runtime.LockOSThread()
				_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), 19) // for the sake of the tests beside this one
				for !exists(s.Cured) {
				}
			}()
		}
		return nil
	},
	"fills its directory for temporary files": func(*bad, *badSource) error {
		f, err := os.CreateTemp("", "filler")
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, endless{}, 20<<20)
		return err
	},
	"holds 10,000 files": func(_ *bad, s *badSource) error {
		for range 10_000 {
			f, err := os.Open(os.DevNull)
			if err != nil {
				return wireError(&pb.Error{Code: "retryable", Text: "no more files can be opened"})
			}
			s.files = append(s.files, f)
		}
		return nil
	},
	"writes garbage to the socket": func(*bad, *badSource) error {
		for fd := range 100 {
			if _, err := syscall.Getpeername(fd); err == nil {
				_, _ = syscall.Write(fd, []byte(strings.Repeat(canaryItem, 1000)))
			}
		}
		select {}
	},
	"floods stderr with lines":    flood(stderr, canaryItem+" is a line\n"),
	"floods stderr without lines": flood(stderr, canaryItem),
	"floods stderr with bytes":    flood(stderr, "\x00\xff\x1b[2J\n\x80"+canaryItem),
	"floods the log":              flood(stderr, `{"@level":"error","@message":"again and again"}`+"\n"),
	"floods stdout":               flood(nil, canaryItem+"\n"), // which go-plugin sends over the connection, once it serves
	"leaves children": func(_ *bad, s *badSource) error {
		own, foreign := exec.Command("sleep", "120"), exec.Command("sleep", "120")
		for _, c := range []*exec.Cmd{own, foreign} {
			c.Stdout, c.Stderr = os.Stdout, os.Stderr // held open by what outlives the adapter
		}
		foreign.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if own.Start() != nil || foreign.Start() != nil {
			return wireError(&pb.Error{Code: "permanent", Text: "no sleep"})
		}
		f, err := os.OpenFile(s.Orders+".children", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, own.Process.Pid, foreign.Process.Pid)
		_ = f.Close()
		os.Exit(4)
		return nil
	},
	"takes 400 MB at once": func(b *bad, _ *badSource) error {
		b.leaked = append(b.leaked, touched(400<<20))
		time.Sleep(time.Second)
		return nil
	},
	"leaks": func(b *bad, s *badSource) error {
		if s.polls == 1 {
			go func() {
				for range 40 { // 400 MB, of which the limit takes the most
					b.leaked = append(b.leaked, touched(10<<20))
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
		return nil
	},
}

// touched is memory that is really taken.
func touched(n int) []byte {
	all := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		all[i] = 1
	}
	return all
}

// stderr stays what it is, whatever go-plugin makes of os.Stderr.
var stderr = os.NewFile(2, "stderr")

func flood(to *os.File, with string) func(*bad, *badSource) error {
	return func(_ *bad, s *badSource) error {
		if s.polls == 1 {
			if to == nil {
				to = os.Stdout
			}
			go func() {
				for text := []byte(strings.Repeat(with, 10_000)); !exists(s.Cured); {
					_, _ = to.Write(text)
				}
			}()
		}
		return nil
	}
}

// endless is a file without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func wireError(e *pb.Error) error {
	s, err := status.New(codes.Unknown, e.GetCode()).WithDetails(e)
	if err != nil {
		return err
	}
	return s.Err()
}

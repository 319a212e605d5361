// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/sdk"
)

// The tests look at processes through /proc, so they run on Linux only. They start their own binary again, as an
// adapter or as an engine, so that what they test are real processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "adapter":
			beAdapter(os.Args[2])
			return
		case "engine":
			beEngine(os.Args[2])
			return
		}
	}
	os.Exit(m.Run())
}

func bundled(t testing.TB) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, "adapter"}
}

// beAdapter is a program in the role of an adapter, a good one unless its name says otherwise.
func beAdapter(name string) {
	switch name {
	case "silent": // it never says hello
		time.Sleep(time.Hour)
	case "version2":
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: sdk.CookieVariable, MagicCookieValue: sdk.CookieValue},
			VersionedPlugins: map[int]plugin.PluginSet{2: {"adapter": noPlugin{}}},
			GRPCServer:       plugin.DefaultGRPCServer,
		})
	case "netrpc":
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: sdk.CookieVariable, MagicCookieValue: sdk.CookieValue},
			VersionedPlugins: map[int]plugin.PluginSet{1: {"adapter": noPlugin{}}},
		})
	case "eats": // before it says hello
		eaten := make([][]byte, 0, 100)
		for range cap(eaten) {
			eaten = append(eaten, bytes.Repeat([]byte("x"), 10<<20))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Hour)
	case "badconfig":
		type config struct {
			C chan int `hcl:"c"`
		}
		sdk.Serve(sdk.Info{Name: name}, func(context.Context, config, sdk.Env) (sdk.Source, error) { return nil, nil })
	case "by hand", "tcp", "no certificate", "PEM", "padding", "network", "nobody listens", "other name", "expired", "no server's",
		"other certificate", "plain", "not HTTP/2", "refuses the engine", "ends", "fails", "prints":
		beByHand(name)
	default:
		sdk.Serve(sdk.Info{Name: name, Version: "1.2.3", Doc: "For tests."}, openTest)
	}
}

type noPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (noPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (noPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

type testConfig struct {
	Token string `hcl:"token,optional,sensitive"`
	Down  string `hcl:"down,optional" doc:"A file; while it is there, the EHR is down."`
	Zone  string `hcl:"zone,optional"`
}

func (c testConfig) Validate() error {
	if c.Zone == "Hades" {
		time.Sleep(time.Hour)
	}
	if c.Zone == "Mars" {
		return sdk.Misconfigured("zone", "there is no such zone")
	}
	return nil
}

type testSource struct {
	testConfig
	env sdk.Env
}

func openTest(ctx context.Context, c testConfig, env sdk.Env) (sdk.Source, error) {
	if _, err := os.Stat(c.Down); c.Down != "" && err == nil {
		return nil, sdk.Unauthorized("GET /: status 401 with %s", c.Token) // an adapter's author should not do that
	}
	return &testSource{c, env}, nil
}

func (s *testSource) Catalog() sdk.Catalog {
	return sdk.Catalog{Feeds: []sdk.Feed{{Name: "a", Class: sdk.Scan, Version: sdk.None}, {Name: "b", Class: sdk.Scan, Version: sdk.None}}}
}

// Poll does what the feed's name says; the answer is the page's cursor.
func (s *testSource) Poll(ctx context.Context, q sdk.Query) (page sdk.Page, err error) {
	answer := ""
	switch q.Feed {
	case "pid":
		answer = strconv.Itoa(os.Getpid())
	case "trace":
		answer = strings.Join(metadata.ValueFromIncomingContext(ctx, "traceparent"), " ")
	case "environment":
		answer = strings.Join(os.Environ(), "\n")
	case "state":
		answer = string(s.env.State.Section("").Load())
	case "save":
		err = s.env.State.Section("").Save(ctx, q.Cursor)
	case "save late":
		s.env.Logger.Info("it saves late")
		<-ctx.Done()
		err = s.env.State.Section("").Save(context.WithoutCancel(ctx), q.Cursor)
	case "note":
		page.Notes = []sdk.Note{{Code: "odd", Text: "asked with " + s.Token + " at " + s.Down}}
		page.Included = []sdk.Result{{Err: sdk.NotFound("GET %s: 404", s.Down)}}
	case "slow":
		<-ctx.Done()
		err = ctx.Err()
	case "hang":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(7)
	case "child": // a program of the adapter's own
		child := exec.Command("sleep", "3600")
		if err := child.Start(); err != nil {
			return page, err
		}
		answer = strconv.Itoa(child.Process.Pid)
	case "crash":
		go crashDeliberately(s.Token)
		time.Sleep(time.Hour)
	case "log":
		fmt.Fprintln(os.Stderr, "raw", s.Token)
		fmt.Println("printed", s.Token)
		s.env.Logger.Debug("too low for the engine's level")
		s.env.Logger.Warn("logging in as "+s.Token, //nolint:sloglint // what an adapter should not do
			"token", s.Token, slog.Group("http", "status", 401, "header", "Bearer "+s.Token),
			"list", []string{s.Token}, "err", errors.New("foreign "+s.Token))
	case "panic":
		panic("of " + s.Token)
	case "error":
		err = sdk.Forbidden("GET /: status 403 with %s", s.Token)
	case "foreign":
		err = errors.New("with " + s.Token)
	}
	page.Cursor = []byte(answer)
	return page, err
}

func crashDeliberately(value string) { panic("of " + value) }

func (s *testSource) Fetch(_ context.Context, refs []sdk.Ref) ([]sdk.Result, error) {
	results := make([]sdk.Result, len(refs))
	for i, r := range refs {
		results[i] = sdk.Result{Ref: r, Version: "1", Data: document}
		switch r.Kind {
		case "shuffled":
			results[i].Ref = refs[len(refs)-1-i]
		case "failing":
			results[i].Err = sdk.NotFound("GET /patient/{id}: status 404 with %s", s.Token)
		}
	}
	return results, nil
}

func (s *testSource) Close() error { return nil }

// document is a record of about 1.5 KB.
var document = json.RawMessage(`{"id":"1234567890","name":{"first":"Ada","last":"` + strings.Repeat("x", 1400) + `"},"birth":"1815-12-10"}`)

// beEngine is a program in the role of the engine: it opens a source, tells the pid of the adapter, and waits to be killed.
func beEngine(mode string) {
	if mode == "without-signal" {
		host.WithoutParentDeathSignal()
	}
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	h := host.New(host.Options{Bundled: []string{exe, "adapter"}})
	s := h.Open(host.Adapter{Name: "test"}, "test.one", []byte(`{}`), false)
	page, err := s.Poll(context.Background(), sdk.Query{Feed: "pid"})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(page.Cursor))
	if mode == "stopped" {
		pid, err := strconv.Atoi(string(page.Cursor))
		if err != nil {
			panic(err)
		}
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	time.Sleep(time.Hour)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build counterparts

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/sdktest"
)

// language is an example of an adapter that is not written in Go.
type language struct {
	name, program string
	ready         func(t *testing.T, dir string) // does what the example's README says to do first
	saver         string                         // a program that uses the example's rounds.*, and counts its openings in its saved state, and its polls
}

var languages = []language{
	{"node", "adapter.js", func(t *testing.T, dir string) {
		if err := os.Symlink(nodeModules(t), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}, `#!/usr/bin/env node
import { serve } from './rounds.js';
serve({
  info: { name: 'saver', version: '1.0.0' }, schema: { attributes: [] }, validate() {},
  async open(config, env) {
    await env.saveState(Buffer.from(String(Number(env.state ?? 0) + 1)));
    return {
      catalog: { feeds: [{ name: 'f', class: 'scan', version: 'none' }] },
      async poll() { await env.saveState(Buffer.from('polled')); return {}; },
    };
  },
});
`},
	{"python", "adapter.py", func(t *testing.T, dir string) {
		c := exec.Command("protoc", "--python_out=.", "adapter.proto", "status.proto")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}, `#!/usr/bin/python3
from rounds import Adapter, pb, serve

class Source:
    catalog = pb.OpenResponse(feeds=[pb.Feed(name="f", **{"class": "scan"}, version="none")])

    def __init__(self, env):
        self.env = env

    async def poll(self, query):
        await self.env.save_state(b"polled")
        return pb.PollResponse()

    async def close(self):
        pass

class Saver(Adapter):
    info, schema = pb.Info(name="saver", version="1.0.0"), pb.Schema()

    async def open(self, config, env):
        await env.save_state(b"%d" % (int(env.state or 0) + 1))
        return Source(env)

serve(Saver())
`},
}

// example gives a copy of the example's directory that is ready to run.
func (l language) example(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/adapter-"+l.name)); err != nil {
		t.Fatal(err)
	}
	l.ready(t, dir)
	return dir
}

type booking struct {
	ID        int    `json:"id"`
	PatientID int    `json:"patientID"`
	Start     string `json:"start"`
	UpdatedAt string `json:"updatedAt"`
}

// jsonServer runs json-server with 42 appointments, of which three each have one time, and gives its address.
func jsonServer(t *testing.T) string {
	t.Helper()
	var all []booking
	var patients []map[string]any
	begin := time.Now().Add(-time.Hour).UTC()
	for i := range 42 {
		all = append(all, booking{i + 1, 100 + i%9, "2026-12-01T08:00:00.000Z", begin.Add(time.Duration(i/3) * time.Second).Format(milliseconds)})
	}
	for i := range 9 {
		patients = append(patients, map[string]any{"id": 100 + i, "name": fmt.Sprint("Patient ", i)})
	}
	db, err := json.Marshal(map[string]any{"appointments": all, "patients": patients})
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	node(t, func(string) {}, filepath.Join(nodeModules(t), "json-server", "lib", "cli", "bin.js"), "--port", port, "--host", "127.0.0.1",
		"--quiet", filepath.Join(write(t, map[string]string{"db.json": string(db)}), "db.json"))
	url := "http://127.0.0.1:" + port
	eventually(t, 20*time.Second, "json-server listens", func() bool {
		resp, err := http.Get(url + "/patients/100")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return url
}

const milliseconds = "2006-01-02T15:04:05.000Z"

// move gives an appointment another start.
func move(t *testing.T, url string, id int, start string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"start": start, "updatedAt": time.Now().UTC().Format(milliseconds)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPatch, fmt.Sprintf("%s/appointments/%d", url, id), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}

// TestCounterpartAdaptersInOtherLanguagesRun has adapters that use neither sdk nor go-plugin poll json-server through the command: each
// record arrives once, each update once, also when the adapter is killed, and the engine's end is the adapter's.
func TestCounterpartAdaptersInOtherLanguagesRun(t *testing.T) {
	t.Parallel()
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			dir, url := l.example(t), jsonServer(t)
			config := filepath.Join(dir, "rounds.hcl")
			good := replaced(t, content(t, config), `"http://localhost:3000"`, `"`+url+"\"\n  page_size = 7", `"2s"`, `"1s"`)
			for mistake, want := range map[string][]string{
				strings.Replace(good, "http://", "ftp://", 1):                    {"rounds.hcl line 9", "base_url: must begin with http"},
				strings.Replace(good, "page_size = 7", "page_size = 0", 1):       {"rounds.hcl line 10", "page_size: must be from 1 to 1000"},
				strings.Replace(good, "page_size = 7", "page_sise = 7", 1):       {"rounds.hcl line 10", "page_size"},
				strings.Replace(good, "page_size = 7", "page_size = \"few\"", 1): {"rounds.hcl line 10", "page_size"},
			} {
				overwrite(t, dir, "rounds.hcl", mistake)
				code, _, stderr := rounds(t, nil, "validate", config)
				for _, text := range want {
					if code != 1 || !strings.Contains(strings.Join(strings.Fields(stderr), " "), text) {
						t.Errorf("exit code %d, want %q in:\n%s", code, text, stderr)
					}
				}
			}
			overwrite(t, dir, "rounds.hcl", good)
			if code, _, stderr := rounds(t, nil, "validate", config); code != 0 {
				t.Fatalf("exit code %d\n%s", code, stderr)
			}

			p := start(t, nil, "run", config, "--state", filepath.Join(dir, "state"), "--log-level", "debug")
			told := func() []string { return strings.Fields(p.stdout.String()) } // a line has no space but in the patient's name
			lines := func() int { return strings.Count(p.stdout.String(), "\n") }
			pid := func(life int) (pid int) {
				t.Helper()
				p.eventually(30*time.Second, "the adapter runs", func() bool {
					found := regexp.MustCompile(`the adapter is running.* pid=(\d+)`).FindAllStringSubmatch(p.log.String(), -1)
					if len(found) <= life {
						return false
					}
					pid, _ = strconv.Atoi(found[life][1])
					return true
				})
				return pid
			}
			first := pid(0)
			p.eventually(time.Minute, "all arrived", func() bool { return lines() >= 42 })
			p.logged(`msg="read a page" adapter=` + l.name) // a log line of the adapter's own
			move(t, url, 4, "moved-once")
			p.eventually(30*time.Second, "the update arrived", func() bool { return lines() >= 43 })
			if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			move(t, url, 5, "moved-after-the-kill")
			p.eventually(30*time.Second, "the update after the kill arrived", func() bool { return lines() >= 44 })
			second := pid(1)
			if second == first || alive(first) {
				t.Errorf("killed, the adapter has the pid %d and had %d", second, first)
			}
			if err := syscall.Kill(second, syscall.SIGTERM); err != nil { // it is the engine's to end it
				t.Fatal(err)
			}
			move(t, url, 6, "moved-after-SIGTERM")
			p.eventually(30*time.Second, "the update after SIGTERM arrived", func() bool { return lines() >= 45 })
			if !alive(second) {
				t.Error("SIGTERM ended the adapter")
			}
			if code := p.stop(); code != 0 {
				t.Errorf("exit code %d after SIGTERM", code)
			}
			if alive(second) {
				t.Error("the adapter outlives the engine")
			}
			if n := lines(); n != 45 {
				t.Errorf("%d notifications, want 42 and three updates", n)
			}
			for _, want := range []string{"moved-once", "moved-after-the-kill", "moved-after-SIGTERM"} {
				if n := strings.Count(strings.Join(told(), ""), want); n != 1 {
					t.Errorf("%s came %d times", want, n)
				}
			}
			if strings.Contains(p.log.String(), "Patient ") || strings.Contains(p.log.String(), "moved-") {
				t.Error("the log has content of records")
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesConform runs the conformance kit by the command, with each example's configuration.
func TestCounterpartAdaptersInOtherLanguagesConform(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			dir := l.example(t)
			config := filepath.Join(dir, "rounds.hcl")
			overwrite(t, dir, "rounds.hcl", replaced(t, content(t, config), `"http://localhost:3000"`, `"`+jsonServer(t)+"\"\n  page_size = 7\n  token = \"c4n4ry-of-the-clinic\""))
			code, stdout, stderr := rounds(t, nil, "adapter", "test", filepath.Join(dir, l.program), "--config", config, "--json")
			var report sdktest.Report
			if err := json.Unmarshal([]byte(stdout), &report); code != 0 || err != nil || len(report.Rules) != len(sdktest.Rules()) {
				t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
			}
			for _, rule := range report.Rules {
				if rule.State != sdktest.Passed && rule.Rule != "queue" { // there is none
					t.Errorf("%s: %s: %s %s", rule.Rule, rule.State, rule.Seen, rule.Reason)
				}
			}
		})
	}
}

func untapped(ctx context.Context, method string, request, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
	return call(ctx, method, request, reply, c, o...)
}

// launched runs a program as an adapter, without an engine.
func launched(t *testing.T, path string) *sdk.Client {
	t.Helper()
	var output output
	p, err := sdktest.Program(path)(t.Context(), sdktest.Start{Tap: untapped, Output: &output})
	if err != nil {
		t.Fatalf("%v\n%s", err, output.String())
	}
	t.Cleanup(func() {
		p.End()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", path, output.String())
		}
	})
	return p.Client
}

// TestCounterpartAdaptersInOtherLanguagesChooseTheirPaths: an identifier is a record's own, and libraries go along with what it says of a path.
func TestCounterpartAdaptersInOtherLanguagesChooseTheirPaths(t *testing.T) {
	t.Parallel()
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%q", r.RequestURI) }))
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			client := launched(t, filepath.Join(l.example(t), l.program))
			source, err := client.Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{"base_url": "` + url + `/api"}`)})
			if err != nil {
				t.Fatal(err)
			}
			for id, want := range map[string]string{"": "", ".": "", "..": "", "a/../b?c#d%2e ä": "/api/patients/a%2F..%2Fb%3Fc%23d%252e%20%C3%A4"} {
				results, err := source.Fetch(t.Context(), []sdk.Ref{{Kind: "patient", ID: id}})
				if err != nil {
					t.Fatal(err)
				}
				r := results[0]
				if want == "" && (sdk.CodeOf(r.Err) != sdk.CodePermanent || r.Data != nil) || want != "" && string(r.Data) != strconv.Quote(want) {
					t.Errorf("%q: asked for %s, %v", id, r.Data, r.Err)
				}
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesKeepEachDigit: both languages change numbers that they read as numbers of their own.
func TestCounterpartAdaptersInOtherLanguagesKeepEachDigit(t *testing.T) {
	t.Parallel()
	const item = `{"id":9007199254740993,"updatedAt":"2026-05-10T10:00:00.000Z","dose":1.10,"accession":123456789012345678901234567890}`
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "[%s]", item) }))
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			client := launched(t, filepath.Join(l.example(t), l.program))
			source, err := client.Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{"base_url": "` + url + `"}`)})
			if err != nil {
				t.Fatal(err)
			}
			page, err := source.Poll(t.Context(), sdk.Query{Feed: "appointments"})
			if err != nil || len(page.Changes) != 1 {
				t.Fatalf("%d changes, %v", len(page.Changes), err)
			}
			c := page.Changes[0]
			if got := strings.ReplaceAll(strings.ReplaceAll(string(c.Data), `, "`, `,"`), `": `, `":`); got != item || c.Ref.ID != "9007199254740993" {
				t.Errorf("%s became\n%s, its id %s", item, got, c.Ref.ID)
			}
		})
	}
}

// TestCounterpartAdaptersInOtherLanguagesWatermarksStayBehindTheServersClock: neither a record dated 2099 nor one without a date moves a
// watermark beyond what was read, and without the server's clock only records do.
func TestCounterpartAdaptersInOtherLanguagesWatermarksStayBehindTheServersClock(t *testing.T) {
	t.Parallel()
	const items = `[{"id":1,"updatedAt":"2026-05-10T10:00:00.000Z"},{"id":2},{"id":3,"updatedAt":"2099-01-01T00:00:00.000Z"},{"id":4,"updatedAt":"10.5.2026"}]`
	for _, l := range languages {
		for _, clock := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, clock %t", l.name, clock), func(t *testing.T) {
				t.Parallel()
				asked := make(chan string, 2)
				url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked <- r.FormValue("updatedAt_gte")
					if !clock {
						w.Header()["Date"] = nil
					}
					fmt.Fprint(w, items)
				}))
				client := launched(t, filepath.Join(l.example(t), l.program))
				source, err := client.Open(t.Context(), sdk.Opening{Source: "x.y", Config: []byte(`{"base_url": "` + url + `"}`)})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				page, err := source.Poll(t.Context(), sdk.Query{Feed: "appointments"})
				if err != nil || len(page.Changes) != 4 || page.Changes[0].Err != nil || page.Changes[1].Err == nil || page.Changes[2].Err != nil || page.Changes[3].Err == nil {
					t.Fatalf("%v, %v", page.Changes, err)
				}
				if first := <-asked; first != "" {
					t.Errorf("from the beginning is asked for as %q", first)
				}
				if _, err := source.Poll(t.Context(), sdk.Query{Feed: "appointments", Watermark: page.Watermark}); err != nil {
					t.Fatal(err)
				}
				text := <-asked
				since, err := time.Parse(time.RFC3339, text)
				if err != nil {
					t.Fatal(err)
				}
				if clock && (since.After(time.Now()) || since.Before(begin.Add(-5*time.Second))) || !clock && text != "2026-05-10T09:59:59.999Z" {
					t.Errorf("the next window begins at %s", text)
				}
			})
		}
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/cmd/internal/receiver"
	"github.com/rounds-engine/rounds/cmd/internal/sampleehr"
	"github.com/rounds-engine/rounds/sdk"
)

// ledger is an adapter for what the REST adapter can't do: its feed numbers its changes, and can lose the oldest. It reads a
// file that the test writes. This test binary is its program.
type ledger struct {
	Path  string `hcl:"path"`
	Saves bool   `hcl:"saves,optional"` // something, whenever it is opened
	Queue bool   `hcl:"queue,optional"` // its feed is told to be one
}

// page is what the file holds.
type page struct {
	First   int               // number of the first change that is still to be had
	Changes []json.RawMessage // {"id": …}
}

const ledgerHCL = `
adapter "ledger" {
  path = env("LEDGER")
}

source "ledger" "orders" {
  path = env("LEDGER_FILE")
}

destination "webhook" "orders" {
  url = env("NOTIFY_URL")
  allow_private = true
}

pipeline "orders" {
  poll {
    feed  = source.ledger.orders.feed.orders
    every = "1s"
    start = "beginning"
  }
  deliver "orders" {
    to  = destination.webhook.orders
    map = "order.js"
  }
}
`

var ledgerInfo = sdk.Info{
	Name: "ledger", Version: "1.0.0", Doc: "For tests.",
	Feeds: []sdk.Feed{{
		Name: "orders", Kind: "order", Class: sdk.Sequence, Version: sdk.None, Deletes: true, Ignore: []string{"views", "links.self"},
		Why: "It is asked for orders after a number.",
	}},
	Resources: []sdk.Resource{{Name: "order"}, {Name: "item", Batch: 50, Why: "There are too many to ask for one by one."}},
	Limits:    []sdk.Limit{{Calls: 1000, Per: 24 * time.Hour, Doc: "per key, anew at midnight"}, {Calls: 5, Per: 10 * time.Second}, {Doc: "One login at a time."}},
}

func serveLedger() {
	sdk.Serve(ledgerInfo,
		func(ctx context.Context, l ledger, env sdk.Env) (sdk.Source, error) {
			if l.Saves {
				saved := env.State.Section("opened")
				return l, saved.Save(ctx, append(saved.Load(), '+'))
			}
			return l, nil
		})
}

func (l ledger) Catalog() sdk.Catalog {
	if l.Queue {
		return sdk.Catalog{Feeds: []sdk.Feed{{Name: "orders", Kind: "order", Class: sdk.Queue, Version: sdk.None}}}
	}
	return sdk.Catalog{Feeds: ledgerInfo.Feeds}
}

// leaks are adapters by careless authors, by the path that they are given: what they do with a record that they could not read.
var leaks = map[string]func(record string) error{
	"leak:error":  func(record string) error { return fmt.Errorf("reading %s", record) },
	"leak:number": func(record string) error { _, err := strconv.Atoi(record); return err },
	"leak:panic":  func(record string) error { panic(record) },
	"leak:print": func(record string) error {
		fmt.Println(record)
		fmt.Fprintln(os.Stderr, record)
		fmt.Fprintf(os.Stderr, "{\"@level\": \"error\", \"@message\": %q}\n[ERROR] %s\n", record, record)
		return sdk.Retryable("GET /orders: 503")
	},
	"leak:exit": func(record string) error { log.Fatal(record); return nil },
}

func (l ledger) Poll(_ context.Context, q sdk.Query) (answer sdk.Page, err error) {
	if leak := leaks[l.Path]; leak != nil {
		return answer, leak(canaryItem)
	}
	data, err := os.ReadFile(l.Path)
	if err != nil {
		return answer, sdk.Retryable("the ledger can't be read")
	}
	var all page
	if err := json.Unmarshal(data, &all); err != nil {
		return answer, sdk.Retryable("the ledger is no JSON")
	}
	read := all.First
	if q.Watermark != nil {
		if err := json.Unmarshal(q.Watermark, &read); err != nil {
			return answer, sdk.Permanent("the watermark is no number")
		}
	}
	if read < all.First {
		return answer, sdk.WatermarkExpired("GET /orders: the oldest orders that are kept are newer than those that were read last")
	}
	for ; read < all.First+len(all.Changes); read++ {
		order := all.Changes[read-all.First]
		var id struct{ ID string }
		if err := json.Unmarshal(order, &id); err != nil {
			return answer, sdk.Retryable("an order has no id")
		}
		answer.Changes = append(answer.Changes, sdk.Change{Ref: sdk.Ref{Kind: "order", ID: id.ID}, Op: sdk.Upsert, Data: order})
	}
	answer.Watermark, err = json.Marshal(read)
	return answer, err
}

func (ledger) Fetch(context.Context, []sdk.Ref) ([]sdk.Result, error) {
	return nil, sdk.Permanent("there is nothing to fetch")
}

func (ledger) Close() error { return nil }

// newLedger makes a directory with a configuration of the adapter, and gives its environment and how to write the ledger.
func newLedger(t *testing.T, notifyURL string) (dir string, env []string, keep func(page)) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = write(t, map[string]string{"main.hcl": ledgerHCL, "order.js": "export default ({ change }) => change.data;"})
	file := filepath.Join(dir, "ledger.json")
	keep = func(p page) {
		t.Helper()
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(file+".new", data, 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, []string{"LEDGER=" + program, "LEDGER_FILE=" + file, "NOTIFY_URL=" + notifyURL}, keep
}

// orders are changes that a ledger holds.
func orders(ids ...string) (all []json.RawMessage) {
	for _, id := range ids {
		all = append(all, json.RawMessage(fmt.Sprintf(`{"id": %q}`, id)))
	}
	return all
}

// TestOfTwoPipelinesOnAQueueTheFirstReadsAndTheOtherSaysWhy, of an adapter that does not tell of its feeds without a source, so that no
// configuration is refused for it.
func TestOfTwoPipelinesOnAQueueTheFirstReadsAndTheOtherSaysWhy(t *testing.T) {
	t.Parallel()
	c := newClinic(t, sampleehr.Options{}, receiver.Options{})
	dir, env, keep := newLedger(t, c.receiverURL)
	keep(page{First: 1, Changes: orders("A")})
	hcl := replaced(t, ledgerHCL, `path = env("LEDGER_FILE")`, "path  = env(\"LEDGER_FILE\")\n  queue = true")
	_, pipeline, _ := strings.Cut(ledgerHCL, "pipeline ")
	overwrite(t, dir, "main.hcl", hcl+"pipeline "+replaced(t, pipeline, `"orders" {
  poll`, `"billing" {
  poll`))
	p := startRun(t, dir, env)
	p.eventually(20*time.Second, "the order arrived", func() bool { return c.Accepted() == 1 })
	p.eventually(20*time.Second, "the other says why", func() bool {
		return strings.Contains(p.log.String(), "pipelines orders and billing both poll feed orders of source ledger.orders, which is a queue")
	})
	keep(page{First: 1, Changes: orders("A", "B")})
	p.eventually(20*time.Second, "the next order arrived", func() bool { return c.Accepted() == 2 })
	time.Sleep(2 * time.Second) // two polls of the other, if it made any
	if n := c.Accepted(); n != 2 {
		t.Errorf("%d notifications of 2 orders", n)
	}
	p.stop()
}

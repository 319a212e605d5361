// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/rounds-engine/rounds/sdk"
)

const ledgerText = `ledger 1.0.0
For tests.

Feeds
  orders: class sequence, versions none, kind order, lists deletions, not compared: views, links.self
    It is asked for orders after a number.

Resources
  order: one call for each
  item: one call for up to 50
    There are too many to ask for one by one.

Limits
  1000 calls a day: per key, anew at midnight
  5 calls in 10s
  One login at a time.

Configuration
  path (string, required) 
  saves (bool, optional) 
  queue (bool, optional) 
`

const ledgerMarkdown = `# ledger 1.0.0

For tests.

## Feeds

| feed | class | versions | | |
|---|---|---|---|---|
| ` + "`orders`" + ` | sequence | none | kind order, lists deletions, not compared: views, ` + "`links.self`" + ` | It is asked for orders after a number. |

## Resources

| resource | | |
|---|---|---|
| ` + "`order`" + ` | one call for each |  |
| ` + "`item`" + ` | one call for up to 50 | There are too many to ask for one by one. |

## Limits

| calls | |
|---|---|
| 1000 calls a day | per key, anew at midnight |
| 5 calls in 10s |  |
|  | One login at a time. |

## Configuration

` + "```hcl" + `
source "ledger" "NAME" {
  path = "…"
}
` + "```" + `

| attribute | type | default | |
|---|---|---|---|
| ` + "`path`" + ` | string | required |  |
| ` + "`saves`" + ` | bool | ` + "`false`" + ` |  |
| ` + "`queue`" + ` | bool | ` + "`false`" + ` |  |
`

func TestAnAdapterIsDescribed(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := rounds(t, nil, "adapter", "describe", self); code != 0 || stdout != ledgerText {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := rounds(t, nil, "adapter", "describe", "--markdown", self); code != 0 || stdout != ledgerMarkdown {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ := rounds(t, nil, "adapter", "describe", "--json", self)
	var got struct{ Info sdk.Info }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || len(got.Info.Feeds) != 1 || len(got.Info.Limits) != 3 {
		t.Errorf("exit code %d, %v\n%s", code, err, stdout)
	}
	if code, stdout, _ := rounds(t, nil, "adapter", "describe", "rest"); code != 0 || !strings.Contains(stdout, "depends on the configuration of a source; with --config") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

const twoClinics = `
source "rest" "west" {
  base_url = "http://127.0.0.1:1"
  feed "visits" {
    class = "scan"
    path  = "/visits"
    id    = "id"
  }
}

source "rest" "east" {
  base_url = "http://127.0.0.1:1"
  feed "appointments" {
    class = "scan"
    path  = "/appointments"
    id    = "id"
  }
  resource "patient" {
    path = "/patients/{id}"
  }
}
`

func TestTheFeedsOfASourceAreDescribedWithItsConfiguration(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"main.hcl": twoClinics})
	code, stdout, stderr := rounds(t, nil, "adapter", "describe", "rest", "--config", dir, "--source", "east")
	if code != 0 || !strings.HasPrefix(stdout, "source rest.east (rest ") || !strings.Contains(stdout, "\n  appointments: class scan") ||
		!strings.Contains(stdout, "\nResources\n  patient: ") || strings.Contains(stdout, "visits") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for want, args := range map[string][]string{
		"name one by --source: west, east": {"rest", "--config", dir},
		`has no source "north"`:            {"rest", "--config", dir, "--source", "north"},
		"has no source of the adapter x":   {"x", "--config", dir},
		"--source needs --config":          {"rest", "--source", "east"},
	} {
		if code, _, stderr := rounds(t, nil, append([]string{"adapter", "describe"}, args...)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d\n%s", args, code, stderr)
		}
	}
}

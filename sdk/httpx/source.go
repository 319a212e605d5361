// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/budget"
)

// BaseURL reads an attribute base_url, below which all paths of an API are. like is an example of one, for whoever wrote something
// else. The address that it gives has no slash at its end.
func BaseURL(address, like string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(address, "/"))
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, sdk.Misconfigured("base_url", "is not an address like %s", like)
	case u.User != nil:
		return nil, sdk.Misconfigured("base_url", "must not hold credentials, which have a place of their own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, sdk.Misconfigured("base_url", "must end with the path, without parameters")
	}
	return u, nil
}

// Plain says whether calls to u leave this machine unencrypted.
func Plain(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// Load is a block limits for servers that have no limits of their own. Nil is one in which nothing is written.
type Load struct {
	_ struct{} `doc:"What the server has to bear at most, all pipelines that use this source together."`

	Concurrency int     `hcl:"concurrency,optional" default:"8" doc:"Calls under way at once."`
	PerSecond   float64 `hcl:"per_second,optional" doc:"Calls a second, evenly spaced. Without it: as fast as answers come."`
}

// Validate finds what the schema can't say. Whoever wrote zero does not want the default, which stands in what was not written.
func (l *Load) Validate() error {
	switch {
	case l == nil:
	case l.Concurrency < 1:
		return sdk.Misconfigured("limits.concurrency", "must be at least 1")
	case !(l.PerSecond >= 0 && l.PerSecond <= 1e6):
		return sdk.Misconfigured("limits.per_second", "must be a number of calls a second, more than 0; leave it out for no limit")
	}
	return nil
}

// Config is that of a client which keeps to the block.
func (l *Load) Config(timeout time.Duration) Config {
	if l == nil {
		return Config{Timeout: timeout}
	}
	return Config{Timeout: timeout, Concurrency: l.Concurrency, Limits: budget.Limits{PerSecond: l.PerSecond}}
}

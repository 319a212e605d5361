// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package athenahealth

import (
	"regexp"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/httpx"
)

// Config is a source "athenahealth" block.
type Config struct {
	_ struct{} `doc:"One practice at athenahealth."`

	Environment  string   `hcl:"environment" values:"preview,production" doc:"Which of the vendor's servers: preview is the sandbox."`
	PracticeID   string   `hcl:"practice_id" doc:"The practice, as in the paths of the API. Each practice is a source of its own."`
	ClientID     string   `hcl:"client_id" doc:"The app's client ID."`
	ClientSecret string   `hcl:"client_secret,sensitive" doc:"The app's secret."`
	Scope        string   `hcl:"scope,optional" default:"athena/service/Athenanet.MDP.*" doc:"What the token is asked for."`
	Departments  []string `hcl:"department_ids,optional" doc:"Only messages of these departments are read; the others stay in the queue."`

	ManageSubscription bool `hcl:"manage_subscription,optional" doc:"Subscribe to all events of a feed that is polled and has no subscription. Otherwise a missing one is an error."`

	PageSize int           `hcl:"page_size,optional" default:"1000" doc:"Messages in one answer, 5000 at most."`
	BaseURL  string        `hcl:"base_url,optional" doc:"Instead of the vendor's server, such as a proxy or a simulator: the address before /v1."`
	Timeout  time.Duration `hcl:"timeout,optional" default:"30s" doc:"For one call."`
	Limits   *Limits       `hcl:"limits,block"`
}

// Limits is a limits block.
type Limits struct {
	_ struct{} `doc:"What the app may use of the API, as the developer portal says. Sources share nothing: split what is allowed among those of one app."`

	PerSecond float64 `hcl:"per_second,optional" default:"5" doc:"Calls a second, evenly spaced."`
	PerDay    int     `hcl:"per_day,optional" doc:"Calls from midnight to midnight GMT. None are made beyond it."`
}

// The vendor's servers.
const (
	production = "https://api.platform.athenahealth.com"
	preview    = "https://api.preview.platform.athenahealth.com"
)

const largestPage = 5000 // as documented

var digits = regexp.MustCompile(`^[0-9]{1,20}$`)

// Validate finds what the schema can't say.
func (c Config) Validate() error {
	if !digits.MatchString(c.PracticeID) {
		return sdk.Misconfigured("practice_id", "is a number, such as \"195900\"")
	}
	for name, value := range map[string]string{"client_id": c.ClientID, "client_secret": c.ClientSecret, "scope": c.Scope} {
		if strings.TrimSpace(value) == "" {
			return sdk.Misconfigured(name, "is empty")
		}
	}
	for _, id := range c.Departments {
		if !digits.MatchString(id) {
			return sdk.Misconfigured("department_ids", "are numbers, such as [\"1\", \"21\"]")
		}
	}
	if c.PageSize < 1 || c.PageSize > largestPage {
		return sdk.Misconfigured("page_size", "is from 1 to %d", largestPage)
	}
	if c.Timeout <= 0 {
		return sdk.Misconfigured("timeout", "is longer than nothing")
	}
	if l := c.Limits; l != nil {
		if l.PerSecond < 0 {
			return sdk.Misconfigured("limits.per_second", "is not negative")
		}
		if l.PerDay < 0 {
			return sdk.Misconfigured("limits.per_day", "is not negative")
		}
	}
	if c.BaseURL == "" {
		return nil
	}
	_, err := httpx.BaseURL(c.BaseURL, "https://proxy.example")
	return err
}

// host is where the API is, without a slash at its end.
func (c Config) host() string {
	switch {
	case c.BaseURL != "":
		return strings.TrimRight(c.BaseURL, "/")
	case c.Environment == "production":
		return production
	}
	return preview
}

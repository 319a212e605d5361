// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package destination holds the types of destination: webhook, mllp, nats, kafka, exec, file, stdout, a few files each. What they share
// is a configuration described by tags and the promise of delivery.Destination: Send returns nil only when the receiver has
// taken the notification over.
package destination

import (
	"context"
	"fmt"
	"strings"

	"github.com/rounds-engine/rounds/engine/delivery"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Destination is an opened destination.
type Destination interface {
	delivery.Destination
	// Close releases what the destination holds. No Send is under way, or it was abandoned.
	Close() error
}

var (
	_ delivery.Destination = Destination(nil)
	_ Destination          = (*webhook)(nil)
	_ Destination          = (*mllp)(nil)
	_ Destination          = (*program)(nil)
	_ Destination          = (*file)(nil)
	_ Destination          = (*kafka)(nil)
	_ Destination          = (*natsStream)(nil)
	_ Destination          = (*stdout)(nil)
	_ Prober               = (*mllp)(nil)
	_ Prober               = (*program)(nil)
	_ Prober               = (*file)(nil)
	_ Prober               = (*kafka)(nil)
	_ Prober               = (*natsStream)(nil)
	_ Prober               = (*webhook)(nil)
)

// config is a type's configuration, a struct with tags of package schema.
type config interface {
	// check finds what the schema can't; the error is a *schema.Error. It touches neither disk nor network, and open comes
	// after it only.
	check() error
	// open makes the destination. What it needs of disk and network it reaches when the first notification comes, and again
	// when it was lost: a receiver that is down is no reason not to start.
	open() Destination
}

// Prober is a destination that can be tested without being sent anything. The error may be shown.
type Prober interface {
	Probe(ctx context.Context) error
}

// Types are the types of destination.
var Types = []string{"exec", "file", "kafka", "mllp", "nats", "stdout", "webhook"}

func newConfig(typ string) (config, error) {
	switch typ {
	case "exec":
		return &execConfig{}, nil
	case "file":
		return &fileConfig{}, nil
	case "kafka":
		return &kafkaConfig{}, nil
	case "mllp":
		return &mllpConfig{}, nil
	case "nats":
		return &natsConfig{}, nil
	case "stdout":
		return &stdoutConfig{}, nil
	case "webhook":
		return &webhookConfig{}, nil
	}
	return nil, fmt.Errorf("there is no destination type %q; there are %s", typ, strings.Join(Types, ", "))
}

// Schemas describes the configuration of every type, by its name.
func Schemas() map[string]schema.Schema {
	all := make(map[string]schema.Schema, len(Types))
	for _, typ := range Types {
		c, err := newConfig(typ)
		if err != nil {
			continue // not in newConfig: a test finds that, and tags that can't be read
		}
		if s, err := schema.Of(c); err == nil {
			all[typ] = s
		}
	}
	return all
}

// Check checks a configuration, in its JSON form, without touching disk or network. A *schema.Error names the attribute to
// blame.
func Check(typ string, config []byte) error {
	_, err := parse(typ, config)
	return err
}

// Open makes a destination. Its errors are those of Check.
func Open(typ string, config []byte) (Destination, error) {
	c, err := parse(typ, config)
	if err != nil {
		return nil, err
	}
	return c.open(), nil
}

// CheckBody says what a destination of this type could not send of a notification's body; "" if it can send it. It goes on "an
// object that …", and holds nothing of the body.
func CheckBody(typ string, body []byte) string {
	if typ != "mllp" {
		return ""
	}
	_, problem := parseMessage(body)
	return problem
}

func parse(typ string, data []byte) (config, error) {
	c, err := newConfig(typ)
	if err != nil {
		return nil, err
	}
	if err := schema.Decode(data, c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func blame(path, format string, args ...any) error {
	return &schema.Error{Path: path, Text: fmt.Sprintf(format, args...)}
}

// canceled is what a Send says that did not come to its end: the loop knows why.
func canceled(ctx context.Context) error { return context.Cause(ctx) }

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/pipeline"
	"github.com/rounds-engine/rounds/engine/record"
)

// Trial tries a pipeline's filters and mappings on records from files. It opens no state and asks no source.
type Trial struct{ pipeline *pipeline.Pipeline }

// TrialTime is what context.now is for a record whose change has no time; for others it is that time. So what a mapping makes of a
// file does not depend on when it is tried.
var TrialTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Trial makes a trial of a pipeline: of the deliver block of that name, or of all of them if it is empty.
func (e *Engine) Trial(cfg *config.Config, name, deliver string) (*Trial, error) {
	c, err := e.builder(cfg).named(name)
	if err != nil {
		return nil, err
	}
	if deliver != "" {
		var names []string
		for _, d := range c.Delivers {
			names = append(names, d.Name)
		}
		i := slices.Index(names, deliver)
		if i < 0 {
			return nil, fmt.Errorf("pipeline %s has no deliver block %q; it has: %s", name, deliver, strings.Join(names, ", "))
		}
		c.Delivers = c.Delivers[i : i+1]
	}
	p, err := pipeline.New(c)
	if err != nil {
		return nil, err
	}
	return &Trial{p}, nil
}

// noPipeline says that a configuration has no pipeline of a name.
func noPipeline(cfg *config.Config, name string) error {
	var names []string
	for _, p := range cfg.Pipelines {
		names = append(names, p.Name)
	}
	return fmt.Errorf("the configuration has no pipeline %q; it has: %s", name, strings.Join(names, ", "))
}

// Close ends what an isolated pipeline's mappings ran in.
func (t *Trial) Close() { t.pipeline.Release() }

// Map gives what each deliver block makes of a record in a file's form.
func (t *Trial) Map(ctx context.Context, file []byte) ([]pipeline.Outcome, error) {
	f, err := record.UnmarshalFixture(file)
	if err != nil {
		return nil, err
	}
	now := f.Record.Change.Time
	if now.IsZero() {
		now = TrialTime
	}
	return t.pipeline.Try(ctx, f.Record, f.Previous, now)
}

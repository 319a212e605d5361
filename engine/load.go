// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/jsonschema"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/scripts"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Load reads a configuration, a .hcl file or a directory of them, and checks everything that can be checked offline. The
// adapters that it names are started, to ask them for their schemas. Values are those of its variables that do not come from
// the environment.
func (e *Engine) Load(ctx context.Context, path string, values ...config.Value) (*config.Config, config.Files, hcl.Diagnostics) {
	return config.Load(ctx, path, config.Options{
		Adapters:         described{e.host},
		Bundled:          e.o.Adapters,
		Destinations:     destination.Schemas(),
		CheckDestination: destination.Check,
		Values:           values,
		CheckScript: func(dir, path string) error {
			_, err := script.Compile(path, script.Options{Root: dir})
			return err
		},
		Schemas: scripts.SchemaNames(),
		CheckSchema: func(dir, name string) error {
			_, err := jsonschema.Compile(name, dir)
			return err
		},
	})
}

// described lets the configuration ask adapters through the host.
type described struct{ host *host.Host }

func (d described) Schema(ctx context.Context, a config.Adapter) (schema.Schema, error) {
	description, err := d.host.Describe(ctx, host.Adapter(a))
	return description.Schema, err
}

func (d described) Validate(ctx context.Context, a config.Adapter, data []byte) error {
	return d.host.Validate(ctx, host.Adapter(a), data)
}

// Describe asks an adapter who it is and how its sources are configured: a bundled one by its name, any other by the path of its
// program.
func (e *Engine) Describe(ctx context.Context, adapter string) (host.Description, error) {
	a := host.Adapter{Name: adapter}
	if !slices.Contains(e.o.Adapters, adapter) {
		a = host.Adapter{Name: filepath.Base(adapter), Path: adapter}
	}
	return e.host.Describe(ctx, a)
}

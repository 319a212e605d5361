// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/destination"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/engine/jsonschema"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/engine/script/worker"
	"github.com/rounds-engine/rounds/scripts"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

// Load reads a configuration, a .hcl file or a directory of them, and checks everything that can be checked offline. The
// adapters that it names are started, to ask them for their schemas. Values are those of its variables that do not come from
// the environment.
func (e *Engine) Load(ctx context.Context, path string, values ...config.Value) (*config.Config, config.Files, hcl.Diagnostics) {
	return e.load(ctx, path, described{e.host, e.runs()}, values)
}

func (e *Engine) load(
	ctx context.Context, path string, adapters config.Adapters, values []config.Value,
) (*config.Config, config.Files, hcl.Diagnostics) {
	apart := worker.New(worker.Options{Command: e.o.Worker, Name: "the check of scripts", Logger: slog.New(slog.DiscardHandler)})
	defer apart.End()
	e.parsing.Lock()
	defer e.parsing.Unlock()
	cfg, files, diags := config.Load(ctx, path, config.Options{
		Parsed:           &e.parsed,
		Adapters:         adapters,
		Bundled:          e.o.Adapters,
		Destinations:     destination.Schemas(),
		CheckDestination: destination.Check,
		CheckBody:        destination.CheckBody,
		Values:           values,
		CheckScript: func(dir, path string, isolated bool) error {
			b, err := script.NewBundle(path, script.Options{Root: dir})
			switch {
			case err != nil:
			case isolated:
				err = apart.Check(ctx, b)
			default:
				_, err = b.Compile()
			}
			return err
		},
		Schemas: scripts.SchemaNames(),
		CheckSchema: func(dir, name string) error {
			_, err := jsonschema.Compile(name, dir)
			return err
		},
	})
	if cfg != nil {
		diags = append(diags, e.attached(cfg)...)
	}
	if diags.HasErrors() {
		cfg = nil
	}
	return cfg, files, diags
}

// debugTimeout is how long a call to an adapter may take that is attached: its author may look around at a breakpoint.
const debugTimeout = time.Hour

// attached makes room for a debugger where a configuration uses an adapter that is attached, and says which is not used.
func (e *Engine) attached(cfg *config.Config) (diags hcl.Diagnostics) {
	adapters, used := map[string]string{}, []string{} // of the sources, by their ids
	for _, s := range cfg.Sources {
		adapters[s.ID()] = s.Adapter.Name
		used = append(used, s.Adapter.Name)
	}
	for i := range cfg.Pipelines {
		if _, ok := e.o.Attach[adapters[cfg.Pipelines[i].Source]]; ok {
			cfg.Pipelines[i].Timeout = debugTimeout
		}
	}
	slices.Sort(used)
	for _, name := range slices.Sorted(maps.Keys(e.o.Attach)) {
		d := &hcl.Diagnostic{
			Severity: hcl.DiagWarning, Summary: "Adapter attached to be debugged",
			Detail: fmt.Sprintf("The adapter %q is the one that waits at %s (--attach), not the program that the configuration names. A debugger "+
				"reads all that it is given: secrets and records.", name, e.o.Attach[name]),
		}
		if !slices.Contains(used, name) {
			d = &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Nothing to attach",
				Detail: fmt.Sprintf("No source of this configuration uses the adapter %q, which --attach names. Used are: %s.", name,
					strings.Join(slices.Compact(used), ", ")),
			}
		}
		diags = append(diags, d)
	}
	return diags
}

// described lets the configuration ask adapters through the host. A source that runs as it stands in the configuration was validated, and
// is not again: there may be thousands.
type described struct {
	host *host.Host
	runs map[sourceSum]bool
}

// sourceSum tells apart what adapters are asked to validate.
type sourceSum [sha256.Size]byte

func sumOfSource(a config.Adapter, data []byte) sourceSum {
	h := sha256.New()
	for _, part := range []string{a.Name, a.Path, a.SHA256} {
		h.Write(append(binary.AppendUvarint(nil, uint64(len(part))), part...))
	}
	h.Write(data)
	return sourceSum(h.Sum(nil))
}

// runs has the sources that are open, or are to be.
func (e *Engine) runs() map[sourceSum]bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	sums := map[sourceSum]bool{}
	if e.running != nil {
		for _, s := range e.running.sources {
			sums[sumOfSource(s.config.Adapter, s.config.Config)] = true
		}
	}
	return sums
}

func (d described) Describe(ctx context.Context, a config.Adapter) (sdk.Info, schema.Schema, error) {
	description, err := d.host.Describe(ctx, host.Adapter(a))
	return description.Info, description.Schema, err
}

func (d described) Validate(ctx context.Context, a config.Adapter, data []byte) error {
	if d.runs[sumOfSource(a, data)] {
		return nil
	}
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

// DescribeSource opens a source of a configuration, which may ask its EHR, and tells what it offers. What its adapter saves meanwhile
// is not kept.
func (e *Engine) DescribeSource(ctx context.Context, cfg *config.Config, s config.Source) (host.Description, error) {
	e.saved.set(unstored())
	e.host.Hide(cfg.Secrets)
	source := e.openSource(s)
	defer closeAll(ctx, map[string]*host.Source{s.ID(): source})
	d, err := e.host.Describe(ctx, host.Adapter(s.Adapter))
	if err != nil {
		return d, err
	}
	catalog, err := source.Catalog(ctx)
	if err != nil {
		return d, sdk.Safe(err)
	}
	d.Source, d.Info.Feeds, d.Info.Resources = s.ID(), catalog.Feeds, catalog.Resources
	return d, nil
}

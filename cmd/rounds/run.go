// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/child"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/metrics"
	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/engine/tracing"
)

func newRunCommand() *cobra.Command {
	var logs logFlags
	var values valueFlags
	var state stateFlags
	var attach attachFlags
	var grace time.Duration
	var logRefs bool
	c := &cobra.Command{
		Use:   "run [PATH]",
		Short: "Run the pipelines of a configuration",
		Long: `Runs the pipelines of a configuration, a .hcl file or a directory of them (default: the working directory), until it gets
SIGINT or SIGTERM. Then it polls no more, lets deliveries that are on their way end, and keeps the rest for the next run. On
SIGHUP, or when rounds reload asks for it, it reads the configuration again: what did not change in it goes on undisturbed, and one
that has a mistake changes nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			// Whoever reads the log or the standard output may end. Without this, the next line would end the engine, by SIGPIPE.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if all := child.AllMemory(); all > 0 && os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(all / 2) // garbage alone takes no more
			}
			e, err := newEngine(log, state, max(grace, 1), attach) // a grace of 0 is none at all, not the engine's default
			if err != nil {
				return &failure{err}
			}
			if logRefs {
				e.LogRefs()
			}
			tracer, endTraces, err := tracing.Start(c.Context(), version, log)
			if err != nil {
				return &failure{err}
			}
			defer endTraces()
			e.Observe(metrics.New(version), tracer)
			return finish(e, func() error {
				cfg, err := load(c.Context(), e, pathOf(args), values, c.ErrOrStderr())
				switch {
				case errors.Is(err, errStopped):
					return nil
				case err != nil:
					return err
				}
				stop := reloadOnSignal(c.Context(), e, log)
				defer stop()
				return e.Run(c.Context(), cfg, func(ctx context.Context) (*config.Config, error) {
					var mistakes strings.Builder
					cfg, err := load(ctx, e, pathOf(args), values, &mistakes)
					if text := strings.TrimSpace(mistakes.String()); err != nil && text != "" {
						err = errors.New(text)
					}
					return cfg, err
				})
			})
		},
	}
	logs.add(c)
	values.add(c)
	state.add(c)
	attach.add(c)
	c.Flags().DurationVar(&grace, "grace", 10*time.Second, "how long deliveries that are on their way may go on after a stop")
	c.Flags().BoolVar(&logRefs, "log-refs", false, "call records by kind and id in the log, not by a keyed hash: for synthetic data only")
	return c
}

// reloadOnSignal lets the engine read its configuration again at each SIGHUP, until stop. The engine logs what came of
// it.
func reloadOnSignal(ctx context.Context, e *engine.Engine, log *slog.Logger) (stop func()) {
	hup := make(chan os.Signal, 1) // signals that come meanwhile are one
	signal.Notify(hup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-hup:
				if _, err := e.Reload(operate.As(ctx, "SIGHUP")); errors.Is(err, operate.ErrNotRunning) {
					log.Warn("SIGHUP is not heeded: the engine is starting or stopping")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		cancel()
	}
}

func newValidateCommand() *cobra.Command {
	var values valueFlags
	var attach attachFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate [PATH]",
		Short: "Check a configuration without asking an EHR",
		Long: `Checks a configuration, a .hcl file or a directory of them (default: the working directory), its mappings and what its adapters
say of it. No EHR is asked and no state is opened. All mistakes are shown at once.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, attach)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				if asJSON {
					_, _, diags := e.Load(c.Context(), pathOf(args), values...)
					if c.Context().Err() != nil {
						return errStopped
					}
					out, err := config.DiagnosticsJSON(diags)
					if err != nil {
						return err
					}
					fmt.Fprintf(c.OutOrStdout(), "%s\n", out)
					if diags.HasErrors() {
						return &failure{}
					}
					return nil
				}
				cfg, err := load(c.Context(), e, pathOf(args), values, c.ErrOrStderr())
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "The configuration is valid: %d pipelines, %d sources, %d destinations.\n",
					len(cfg.Pipelines), len(cfg.Sources), len(cfg.Destinations))
				return nil
			})
		},
	}
	values.add(c)
	attach.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// newEngine makes an engine whose bundled adapters are this binary, started again.
func newEngine(log *slog.Logger, state stateFlags, grace time.Duration, attach attachFlags) (*engine.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file, which the bundled adapters are started from: %w", err)
	}
	key, err := state.key()
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Options{
		StateDir: state.dir, StateKey: key, Bundled: []string{self, "adapter", "serve"}, Adapters: bundledNames(), Worker: []string{self, workerCommand}, Grace: grace, Logger: log,
		Version: version, Attach: attach,
	}), nil
}

// finish does the work and ends the adapters' processes, whatever came of it.
func finish(e *engine.Engine, work func() error) error {
	err := work()
	if closing := e.Close(); err == nil {
		err = closing
	}
	if err == nil {
		return nil
	}
	if f, ok := err.(*failure); ok { //nolint:errorlint // made here, never wrapped
		return f
	}
	return &failure{err}
}

var errStopped = errors.New("stopped before the configuration was checked")

// load reads a configuration and shows its mistakes. Those that only the stop made, such as an adapter that could not tell its
// schema any more, are none: errStopped.
func load(ctx context.Context, e *engine.Engine, path string, values valueFlags, stderr io.Writer) (*config.Config, error) {
	return loadBy(ctx, e.Load, path, values, stderr)
}

type loading func(ctx context.Context, path string, values ...config.Value) (*config.Config, config.Files, hcl.Diagnostics)

func loadBy(ctx context.Context, read loading, path string, values valueFlags, stderr io.Writer) (*config.Config, error) {
	cfg, files, diags := read(ctx, path, values...)
	if ctx.Err() != nil {
		return nil, errStopped
	}
	if err := config.WriteDiagnostics(stderr, files, diags, isTerminal(stderr), 100); err != nil {
		return nil, err
	}
	if diags.HasErrors() {
		return nil, &failure{}
	}
	return cfg, nil
}

func pathOf(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// isTerminal says whether colour is wanted on w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

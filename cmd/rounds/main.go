// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Rounds asks EHRs that can't send messages for what changed, and delivers one notification per changed record.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/sdk"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it did not work: the configuration has mistakes, the state is held, a delivery could not end
	exitUsage  = 2 // the command line has mistakes
	exitWants  = 3 // of rounds status and rounds check: something wants a person
)

func main() {
	// One zone for logs wherever the process runs.
	time.Local = time.UTC
	// What we log goes by slog. Libraries use this one, and quote what they were sent: net/http does so with what a server says behind the end of
	// its answer. Invariant 6.
	log.SetOutput(io.Discard)
	noCoreDump()
	if os.Getenv(sdk.CookieVariable) == "" { // an adapter hides itself when it gets a secret: until then the engine sets it up
		hideMemory()
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	// The first signal asks for a graceful stop; the second is the system's own and ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(twoDashes(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	var failed *failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errWanting):
		return exitWants
	case errors.As(err, &failed):
		if failed.err != nil {
			fmt.Fprintf(stderr, "Error: %v\n", failed.err)
		}
		return exitFailed
	}
	fmt.Fprintf(stderr, "Error: %v\nUsage: %s (more: %s --help)\n", err, command.UseLine(), command.CommandPath())
	return exitUsage
}

var errWanting = errors.New("something wants a person")

// failure is an error of the work, not of the command line. A nil err was already shown.
type failure struct{ err error }

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "rounds",
		Short: "Polls EHRs for what changed and delivers one notification per changed record",
		Long: `Rounds is an integration engine for EHRs that have an API to ask and no messages to send. It polls what changed, fetches
the details, maps each record with JavaScript and delivers one notification per changed record.

Exit codes: 0 done, 1 failed (mistakes in the configuration included), 2 mistakes on the command line, 3 something wants a person
(rounds status, rounds check).`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newInitCommand(), newRunCommand(), newPlanCommand(), newValidateCommand(), newStatusCommand(),
		newPauseCommand(), newResumeCommand(), newPollCommand(), newStateCommand(), newReloadCommand(), newDeadCommand(), newHistoryCommand(), newReplayCommand(), newWebCommand(),
		newBackupCommand(), newRestoreCommand(), newCheckCommand(), newMapCommand(), newTestCommand(),
		newRecordCommand(), newFmtCommand(), newDemoCommand(), newAdapterCommand(), newWorkerCommand(), newVersionCommand())
	return root
}

// logFlags are the flags of every command that logs.
type logFlags struct{ level, format string }

func (l *logFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&l.level, "log-level", "info", "least level of what is logged: debug, info, warn, error")
	c.Flags().StringVar(&l.format, "log-format", "text", "text or json")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", l.level)
	}
	o := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: must be text or json", l.format)
}

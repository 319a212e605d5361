// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
	"github.com/rounds-engine/rounds/plugins/athenahealth"
	"github.com/rounds-engine/rounds/plugins/couchdb"
	"github.com/rounds-engine/rounds/plugins/openmrs"
	"github.com/rounds-engine/rounds/plugins/orthanc"
	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// bundled lists the adapters inside this binary.
var bundled = map[string]func(){
	"athenahealth": athenahealth.Serve,
	"couchdb":      couchdb.Serve,
	"openmrs":      openmrs.Serve,
	"orthanc":      orthanc.Serve,
	"rest":         rest.Serve,
}

func bundledNames() []string { return slices.Sorted(maps.Keys(bundled)) }

func newAdapterCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "adapter",
		Short: "Adapters: what runs, what each can do, and how to write one",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAdapterNewCommand(), newAdapterDescribeCommand(), newAdapterTestCommand(), newAdapterListCommand())
	c.AddCommand(&cobra.Command{
		Use:       "serve NAME",
		Short:     "Be a bundled adapter; the engine starts this, not a person",
		Long:      `Serves a bundled adapter to the engine that started this process. Bundled: ` + strings.Join(bundledNames(), ", ") + `.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: bundledNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			serve, ok := bundled[args[0]]
			if !ok {
				return fmt.Errorf("no adapter %q is bundled; there are: %s", args[0], strings.Join(bundledNames(), ", "))
			}
			if os.Getenv(sdk.CookieVariable) != sdk.CookieValue && os.Getenv(sdk.DebugVariable) == "" {
				return fmt.Errorf("the engine starts this, when a configuration has a source \"%s\" \"NAME\" { … }", args[0])
			}
			serve()
			return nil
		},
	})
	return c
}

func newAdapterListCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the adapters' processes of the running engine",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				list, err := e.Adapters(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), list)
				}
				t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprint(t, "ADAPTER\tPID\tMEMORY\tRUNNING SINCE\tSTARTS\tSOURCES\tISOLATED FOR\tPROGRAM\tWHY NOT\n")
				for _, a := range list {
					pid, memory, path := "-", "-", a.Path
					if a.PID != 0 {
						pid = strconv.Itoa(a.PID)
					}
					if a.Memory > 0 {
						memory = fmt.Sprint(a.Memory>>20, " MiB")
					}
					switch {
					case a.Attached != "":
						path = "ATTACHED TO BE DEBUGGED, at " + a.Attached
					case path == "":
						path = "bundled"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", a.Name, pid, memory, ago(time.Now(), a.Since), a.Starts, a.Sources, a.Isolated, path, a.Why)
				}
				return t.Flush()
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

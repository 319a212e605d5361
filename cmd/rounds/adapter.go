// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/plugins/rest"
	"github.com/rounds-engine/rounds/sdk"
)

// bundled lists the adapters inside this binary.
var bundled = map[string]func(){
	"rest": rest.Serve,
}

func bundledNames() []string { return slices.Sorted(maps.Keys(bundled)) }

func newAdapterCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "adapter",
		Short: "Adapters that are bundled with this binary",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
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
			if os.Getenv(sdk.CookieVariable) != sdk.CookieValue {
				return fmt.Errorf("the engine starts this, when a configuration has a source \"%s\" \"NAME\" { … }", args[0])
			}
			serve()
			return nil
		},
	})
	return c
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

func newWebCommand() *cobra.Command {
	var state stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "web",
		Short: "Print a link that opens the web page of the running engine",
		Long: `Prints a link that opens the web page of the engine that runs on a state, once and within two minutes. The configuration needs a
web block. From another machine, bring the page over first: ssh -L 8417:127.0.0.1:8417 HOST.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return operating(c, state, nil, func(ctx context.Context, e operate.Engine) error {
				link, err := e.OpenPage(ctx)
				if err != nil {
					return err
				}
				return say(c, asJSON, link, "%s\n", link.URL)
			})
		},
	}
	state.add(c)
	addJSON(c, &asJSON)
	return c
}

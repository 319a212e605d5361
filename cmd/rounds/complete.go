// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/operate"
)

// completing lets a shell complete a command's one argument by the names that the running engine knows. Without one there are none.
func completing(state *stateFlags, names func(*operate.Status) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second) // somebody waits at a prompt
		defer cancel()
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		e, err := operate.Dial(ctx, state.dir)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		st, err := e.Status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(st), cobra.ShellCompDirectiveNoFileComp
	}
}

func pipelineNames(st *operate.Status) (names []string) {
	for _, p := range st.Pipelines {
		names = append(names, p.Name)
	}
	return names
}

// targetNames are what targetOf reads.
func targetNames(st *operate.Status) (names []string) {
	for _, p := range st.Pipelines {
		names = append(names, operate.Pipeline+"."+p.Name)
	}
	for _, d := range st.Destinations {
		names = append(names, operate.Destination+"."+d.Name)
	}
	return names
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/sdk"
)

// attachFlags say where adapters are that a person has started to debug them, by name. A flag, so that no configuration can
// hold it.
type attachFlags map[string]netip.AddrPort

func (a *attachFlags) add(c *cobra.Command) {
	c.Flags().Var(a, "attach", "for authors of adapters: use the adapter that waits at a loopback address to be debugged, as `NAME=127.0.0.1:PORT`; may be given many times")
}

// Set implements pflag.Value.
func (a *attachFlags) Set(text string) error {
	name, address, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("it is written NAME=127.0.0.1:PORT")
	}
	at, err := sdk.Loopback(address)
	if err != nil {
		return err
	}
	if at.Port() == 0 {
		return fmt.Errorf("%s has no port", address)
	}
	if *a == nil {
		*a = attachFlags{}
	}
	(*a)[name] = at
	return nil
}

func (a *attachFlags) String() string { return "" }

// Type implements pflag.Value.
func (a *attachFlags) Type() string { return "adapter" }

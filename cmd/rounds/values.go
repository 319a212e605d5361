// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine/config"
)

// valueFlags are the flags of every command that reads a configuration: values of its variables, in the order of the command
// line.
type valueFlags []config.Value

func (v *valueFlags) add(c *cobra.Command) {
	c.Flags().Var(&valueFlag{v, false}, "var", "value of a variable, as `NAME=VALUE`; may be given many times, as -var too")
	c.Flags().Var(&valueFlag{v, true}, "var-file", "`FILE` with values of variables; may be given many times, as -var-file too")
	_ = c.MarkFlagFilename("var-file") // the flag is defined on the line above
}

// valueFlag is one of the two flags: what comes later on the command line counts, whichever it is.
type valueFlag struct {
	to     *valueFlags
	isFile bool
}

// Set implements pflag.Value. It takes all, as pflag would quote in an error what may be a secret; loading says what is wrong.
func (f *valueFlag) Set(text string) error {
	if f.isFile {
		*f.to = append(*f.to, config.Value{File: text})
		return nil
	}
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		name, value = "", text
	}
	*f.to = append(*f.to, config.Value{Name: strings.TrimSpace(name), Text: value})
	return nil
}

func (f *valueFlag) String() string { return "" }

// Type implements pflag.Value.
func (f *valueFlag) Type() string { return "value" }

// twoDashes lets -var and -var-file be written as in Terraform, with one dash.
func twoDashes(args []string) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(arg, "=")
		if name == "-var" || name == "-var-file" {
			arg = "-" + arg
		}
		out = append(out, arg)
	}
	return out
}

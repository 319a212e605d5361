// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rounds-engine/rounds/engine"
	"github.com/rounds-engine/rounds/engine/config"
	"github.com/rounds-engine/rounds/engine/host"
	"github.com/rounds-engine/rounds/sdk"
	"github.com/rounds-engine/rounds/sdk/schema"
)

func newAdapterDescribeCommand() *cobra.Command {
	var asJSON, asMarkdown bool
	var attach attachFlags
	var values valueFlags
	var path, source string
	c := &cobra.Command{
		Use:   "describe NAME|PATH",
		Short: "Show what an adapter offers and how its sources are configured",
		Long: `Starts an adapter, bundled (a name) or a program (a path), asks it for its feeds, resources, limits and configuration, and ends it.
No EHR is asked.

What some adapters offer depends on their configuration. With --config a source of that adapter is opened, which may ask the EHR, and its
own feeds and resources are shown. What the adapter saves meanwhile is not kept.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: bundledNames(),
		RunE: func(c *cobra.Command, args []string) error {
			if source != "" && path == "" {
				return errors.New("--source needs --config, which has the source")
			}
			e, err := newEngine(slog.New(slog.DiscardHandler), stateFlags{}, 0, attach)
			if err != nil {
				return &failure{err}
			}
			return finish(e, func() error {
				d, err := describe(c.Context(), e, args[0], path, source, values, c.ErrOrStderr())
				if err != nil {
					return err
				}
				w := terminal{c.OutOrStdout()}
				switch {
				case asJSON:
					return writeJSON(c.OutOrStdout(), d)
				case asMarkdown:
					_, err = io.WriteString(w, markdown(d))
				default:
					_, err = io.WriteString(w, described(d))
				}
				return err
			})
		},
	}
	addJSON(c, &asJSON)
	c.Flags().BoolVar(&asMarkdown, "markdown", false, "print a reference in Markdown")
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	c.Flags().StringVar(&path, "config", "", "a .hcl `FILE` or a directory of them with a source of the adapter")
	c.Flags().StringVar(&source, "source", "", "the `NAME` of the source, where the configuration has several of the adapter")
	values.add(c)
	attach.add(c)
	return c
}

// describe asks an adapter, or opens one of its sources.
func describe(
	ctx context.Context, e *engine.Engine, adapter, path, source string, values valueFlags, stderr io.Writer,
) (d host.Description, err error) {
	if path == "" {
		return e.Describe(ctx, adapter)
	}
	cfg, err := load(ctx, e, path, values, stderr)
	if err != nil {
		return d, err
	}
	s, err := sourceOf(cfg, adapter, source)
	if err != nil {
		return d, err
	}
	return e.DescribeSource(ctx, cfg, s)
}

// sourceOf finds the source of an adapter, which is named or the path of its program.
func sourceOf(cfg *config.Config, adapter, name string) (found config.Source, err error) {
	path, err := filepath.Abs(adapter)
	if err != nil {
		return found, err
	}
	var names []string
	for _, s := range cfg.Sources {
		if s.Adapter.Name != adapter && s.Adapter.Path != path {
			continue
		}
		if names = append(names, s.Name); name == "" || s.Name == name {
			found = s
		}
	}
	switch {
	case len(names) == 0:
		return found, fmt.Errorf("the configuration has no source of the adapter %s", adapter)
	case name == "" && len(names) > 1:
		return found, fmt.Errorf("the configuration has several sources of the adapter %s; name one by --source: %s", adapter, strings.Join(names, ", "))
	case found.Name == "":
		return found, fmt.Errorf("the adapter %s has no source %q in the configuration; it has: %s", adapter, name, strings.Join(names, ", "))
	}
	return found, nil
}

// heading says of what the description is.
func heading(d host.Description) string {
	text := strings.TrimSpace(d.Info.Name + " " + d.Info.Version)
	if d.Source != "" {
		text = "source " + d.Source + " (" + text + ")"
	}
	return text
}

// unknown is said in place of feeds and resources that the adapter does not tell without a source.
const unknown = "What there is depends on the configuration of a source; with --config the command shows that of one."

// described is for a screen.
func described(d host.Description) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", heading(d))
	if d.Info.Doc != "" {
		fmt.Fprintf(&b, "%s\n", d.Info.Doc)
	}
	if d.Source == "" && len(d.Info.Feeds)+len(d.Info.Resources) == 0 {
		fmt.Fprintf(&b, "\nFeeds and resources\n  %s\n", unknown)
	}
	if len(d.Info.Feeds) > 0 {
		b.WriteString("\nFeeds\n")
	}
	for _, f := range d.Info.Feeds {
		fmt.Fprintf(&b, "  %s: %s\n", f.Name, strings.Join(append([]string{"class " + string(f.Class), "versions " + string(f.Version)}, traits(f)...), ", "))
		if f.Why != "" {
			fmt.Fprintf(&b, "    %s\n", f.Why)
		}
	}
	if len(d.Info.Resources) > 0 {
		b.WriteString("\nResources\n")
	}
	for _, r := range d.Info.Resources {
		fmt.Fprintf(&b, "  %s: %s\n", r.Name, batch(r))
		if r.Why != "" {
			fmt.Fprintf(&b, "    %s\n", r.Why)
		}
	}
	if len(d.Info.Limits) > 0 {
		b.WriteString("\nLimits\n")
	}
	for _, l := range d.Info.Limits {
		fmt.Fprintf(&b, "  %s\n", strings.Join(nonempty(calls(l), l.Doc), ": "))
	}
	b.WriteString("\nConfiguration\n")
	writeSchema(&b, d.Schema, "  ")
	return b.String()
}

// traits say what is particular of a feed.
func traits(f sdk.Feed) []string {
	all := nonempty(f.Kind)
	if f.Kind != "" {
		all[0] = "kind " + f.Kind
	}
	if f.Precision > 0 {
		all = append(all, "times of a precision of "+f.Precision.String())
	}
	for _, t := range []struct {
		is   bool
		text string
	}{{f.History, "every version of a record"}, {f.Deletes, "lists deletions"}, {f.Drifts, "pages shift while they are read"}} {
		if t.is {
			all = append(all, t.text)
		}
	}
	if len(f.Ignore) > 0 {
		all = append(all, "not compared: "+strings.Join(f.Ignore, ", "))
	}
	return all
}

func batch(r sdk.Resource) string {
	if r.Batch > 1 {
		return fmt.Sprintf("one call for up to %d", r.Batch)
	}
	return "one call for each"
}

// calls is the number of a limit: "1000 calls a day".
func calls(l sdk.Limit) string {
	if l.Calls == 0 {
		return ""
	}
	per, ok := map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day"}[l.Per]
	if !ok {
		return fmt.Sprintf("%d calls in %s", l.Calls, l.Per)
	}
	return fmt.Sprintf("%d calls a %s", l.Calls, per)
}

func nonempty(texts ...string) (some []string) {
	for _, text := range texts {
		if text != "" {
			some = append(some, text)
		}
	}
	return some
}

// writeSchema shows attributes and blocks as they are written.
func writeSchema(w io.Writer, s schema.Schema, indent string) {
	for _, a := range s.Attributes {
		need := "optional"
		if a.Required {
			need = "required"
		}
		fmt.Fprintf(w, "%s%s (%s, %s) %s\n", indent, a.Name, a.Type, need, a.Doc)
	}
	for _, b := range s.Blocks {
		fmt.Fprintf(w, "%s%s { … } %s\n", indent, b.Title(), b.Doc)
		writeSchema(w, b.Body, indent+"  ")
	}
}

// markdown is a page of a reference.
func markdown(d host.Description) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", heading(d))
	if d.Info.Doc != "" {
		fmt.Fprintf(&b, "\n%s\n", d.Info.Doc)
	}
	if d.Source == "" && len(d.Info.Feeds)+len(d.Info.Resources) == 0 {
		fmt.Fprintf(&b, "\n## Feeds and resources\n\n%s\n", unknown)
	}
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	if len(d.Info.Feeds) > 0 {
		b.WriteString("\n## Feeds\n\n| feed | class | versions | | |\n|---|---|---|---|---|\n")
	}
	for _, f := range d.Info.Feeds {
		row("`"+f.Name+"`", string(f.Class), string(f.Version), schema.MarkdownCell(strings.Join(traits(f), ", ")), schema.MarkdownCell(f.Why))
	}
	if len(d.Info.Resources) > 0 {
		b.WriteString("\n## Resources\n\n| resource | | |\n|---|---|---|\n")
	}
	for _, r := range d.Info.Resources {
		row("`"+r.Name+"`", batch(r), schema.MarkdownCell(r.Why))
	}
	if len(d.Info.Limits) > 0 {
		b.WriteString("\n## Limits\n\n| calls | |\n|---|---|\n")
	}
	for _, l := range d.Info.Limits {
		row(calls(l), schema.MarkdownCell(l.Doc))
	}
	fmt.Fprintf(&b, "\n## Configuration\n\n```hcl\nsource %q \"NAME\" {\n", d.Info.Name)
	skeleton(&b, d.Schema, "  ")
	b.WriteString("}\n```\n")
	if d.Schema.Doc != "" {
		fmt.Fprintf(&b, "\n%s\n", d.Schema.Doc)
	}
	tables(&b, d.Schema, "")
	return b.String()
}

// skeleton writes what a configuration has to have.
func skeleton(b *strings.Builder, s schema.Schema, indent string) {
	width := 0
	for _, a := range s.Attributes {
		if a.Required {
			width = max(width, len(a.Name))
		}
	}
	for _, a := range s.Attributes {
		if a.Required {
			fmt.Fprintf(b, "%s%-*s = %s\n", indent, width, a.Name, placeholder(a))
		}
	}
	for _, block := range s.Blocks {
		if block.Required {
			fmt.Fprintf(b, "%s%s {\n", indent, block.Title())
			skeleton(b, block.Body, indent+"  ")
			fmt.Fprintf(b, "%s}\n", indent)
		}
	}
}

// placeholder is a value of an attribute's type.
func placeholder(a schema.Attribute) string {
	switch {
	case len(a.Values) > 0:
		return fmt.Sprintf("%q", a.Values[0])
	case a.Sensitive:
		return `secret("` + a.Name + `")`
	}
	switch a.Type {
	case schema.Number, schema.Integer:
		return "1"
	case schema.Bool:
		return "true"
	case schema.Duration:
		return `"1m"`
	case schema.List:
		return `["…"]`
	case schema.Map:
		return `{ name = "…" }`
	}
	return `"…"`
}

// tables writes the table of a schema, and those of its blocks below it.
func tables(b *strings.Builder, s schema.Schema, path string) {
	if path != "" {
		fmt.Fprintf(b, "\n### %s\n", path)
	}
	if len(s.Attributes)+len(s.Blocks) > 0 {
		fmt.Fprintf(b, "\n%s", s.Markdown())
	}
	for _, block := range s.Blocks {
		if len(block.Body.Attributes)+len(block.Body.Blocks) > 0 {
			tables(b, block.Body, strings.TrimPrefix(path+"."+block.Name, "."))
		}
	}
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// moves reads the moved blocks.
func (l *loader) moves() {
	type end struct{ from, to hcl.Range }
	var at []end
	for _, block := range l.of("moved") {
		o, ok := l.decode(block, movedSchema)
		if !ok {
			continue
		}
		from, to := o.attributes["from"].expr, o.attributes["to"].expr
		m, ok := l.move(from, to)
		if ok {
			l.config.Moves, at = append(l.config.Moves, m), append(at, end{from.Range(), to.Range()})
		}
	}
	needs, places := map[string][]string{}, map[string]end{}
	var order []string
	for i, m := range l.config.Moves {
		from := m.Kind + "." + m.From
		if _, twice := needs[from]; twice {
			l.errorf(at[i].from, "Moved twice", "Another block moves %s, at %s:%d.", from, places[from].from.Filename, places[from].from.Start.Line)
			continue
		}
		needs[from], places[from] = []string{m.Kind + "." + m.To}, at[i]
		order = append(order, from)
	}
	circular := map[string]bool{}
	for _, circle := range circles(needs, order) {
		l.errorf(places[circle[0]].to, "Cycle between moves", "What is moved comes back to where it was: %s.",
			strings.Join(append(circle, circle[0]), " → "))
		for _, name := range circle {
			circular[name] = true
		}
	}
	targets := map[string]hcl.Range{}
	for _, from := range order {
		to := needs[from][0]
		place := places[from]
		if other, twice := targets[to]; twice {
			l.errorf(place.to, "Moved together", "Something else is moved to %s, at %s:%d. What two names kept can't become one.",
				to, other.Filename, other.Start.Line)
		}
		targets[to] = place.to
		switch {
		case circular[from]:
		case l.blocks[from] != nil:
			l.errorf(place.from, "Moved but still there",
				"There is a block %s. What is moved has another name now: rename the block, or remove this one.", from)
		case needs[to] != nil: // it is moved on
		case l.blocks[to] == nil && len(l.broken) == 0:
			kind, id, _ := strings.Cut(to, ".")
			l.errorf(place.to, "Unknown "+kind, "There is no %s.%s", to, l.meantReference(kind, id))
		}
	}
	if !l.diags.HasErrors() { // each name is moved once, and to a name of its own
		l.config.Moves = inTurn(l.config.Moves)
	}
}

// inTurn puts the moves of what was renamed several times one after another, in the order of the renames: by then its state may be under
// any of the names.
func inTurn(moves []Move) []Move {
	follows := func(m Move) int {
		return slices.IndexFunc(moves, func(next Move) bool { return next.Kind == m.Kind && next.From == m.To })
	}
	var ordered []Move
	for _, m := range moves {
		if slices.ContainsFunc(moves, func(before Move) bool { return before.Kind == m.Kind && before.To == m.From }) {
			continue // it is not the first one
		}
		ordered = append(ordered, m)
		for next := follows(m); next >= 0; next = follows(moves[next]) {
			ordered = append(ordered, moves[next])
		}
	}
	return ordered
}

// move reads the two references of a moved block.
func (l *loader) move(from, to hclsyntax.Expression) (m Move, ok bool) {
	kind, old, ok := l.stateName(from)
	kindTo, now, okTo := l.stateName(to)
	switch {
	case !ok || !okTo:
		return m, false
	case kind != kindTo:
		l.errorf(to.Range(), "Invalid move", "A %s can't become a %s.", kind, kindTo)
		return m, false
	case kind == "source" && strings.SplitN(old, ".", 2)[0] != strings.SplitN(now, ".", 2)[0]:
		l.errorf(to.Range(), "Invalid move", "What is kept for a source is its adapter's own, so the adapter stays the same.")
		return m, false
	}
	return Move{kind, old, now}, true
}

// stateName reads the name of something that state is kept for.
func (l *loader) stateName(expr hclsyntax.Expression) (kind, name string, ok bool) {
	const form = "pipeline.NAME, source.ADAPTER.NAME or destination.TYPE.NAME"
	traversal, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		l.errorf(expr.Range(), "Reference wanted", "A name of something that state is kept for is wanted, without quotes: %s.", form)
		return "", "", false
	}
	var steps []string
	for _, step := range traversal[1:] {
		if attr, isName := step.(hcl.TraverseAttr); isName {
			steps = append(steps, attr.Name)
		}
	}
	kind = traversal.RootName()
	want := map[string]int{"pipeline": 1, "source": 2, "destination": 2}[kind]
	if len(steps) != len(traversal)-1 || want == 0 || len(steps) != want {
		l.errorf(expr.Range(), "Invalid reference", "State is kept for pipelines, sources and destinations, which are written %s.%s", form,
			meant(kind, []string{"pipeline", "source", "destination"}))
		return "", "", false
	}
	return kind, strings.Join(steps, "."), true
}

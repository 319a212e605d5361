// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Fingerprint is the same for two pipelines that the configuration says the same of, whatever stands beside them. What is in the
// files that a pipeline names does not count.
func (p *Pipeline) Fingerprint() [sha256.Size]byte {
	h := sha256.New()
	text, _ := json.Marshal(p) // strings, numbers and lists of them always have a JSON form
	add(h, text)
	for _, e := range p.expressions() {
		if e != nil {
			e.constant(h)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// expressions are those of a pipeline, nil where none is given.
func (p *Pipeline) expressions() []*Expr {
	var all []*Expr
	if p.Expand != nil {
		all = append(all, p.Expand.ID)
	}
	for _, f := range p.Fetches {
		all = append(all, f.ID, f.ForEach, f.When)
	}
	for _, d := range p.Delivers {
		all = append(all, d.Filter, d.OrderBy)
	}
	return all
}

// constant adds what the expression has from elsewhere, and that is the same for every record: values of names, and what functions
// read. A path in a record has no value here and adds nothing.
func (e *Expr) constant(h hash.Hash) {
	var visit hclsyntax.VisitFunc
	visit = func(node hclsyntax.Node) hcl.Diagnostics {
		switch n := node.(type) {
		case *hclsyntax.ScopeTraversalExpr:
			if _, here := e.constants.Variables[n.Traversal.RootName()]; here {
				e.add(h, n)
			}
		case *hclsyntax.FunctionCallExpr:
			if outsideNames[n.Name] { // the others look at their arguments only
				e.add(h, n)
			}
		case *translation: // what is in tables is for whoever compares: any mapping may look into any of them
			_ = hclsyntax.VisitAll(n.key, visit)
		}
		return nil
	}
	_ = hclsyntax.VisitAll(e.expr, visit) // returns what the visitor returns: nothing
}

func (e *Expr) add(h hash.Hash, expr hclsyntax.Expression) {
	v, diags := expr.Value(e.constants)
	if diags.HasErrors() {
		return // it would have been wrong when the configuration was read
	}
	v, _ = v.UnmarkDeep()
	data, err := ctyjson.Marshal(v, cty.DynamicPseudoType)
	if err != nil { // it holds what is not known: a name that the expression makes itself
		return
	}
	add(h, data)
}

// add goes by length, so that no two lists of parts are written alike.
func add(h hash.Hash, part []byte) {
	h.Write(binary.AppendUvarint(nil, uint64(len(part))))
	h.Write(part)
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions that look at nothing but their arguments: those of HCL's standard library under the names that
// Terraform gave them.
var pure = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc,
	"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,

	"chomp": stdlib.ChompFunc, "endswith": textTest(strings.HasSuffix), "format": stdlib.FormatFunc, "join": stdlib.JoinFunc,
	"lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "replace": replaceFunc,
	"split": stdlib.SplitFunc, "startswith": textTest(strings.HasPrefix), "strcontains": textTest(strings.Contains),
	"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc,
	"upper": stdlib.UpperFunc,

	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
	"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc, "length": lengthFunc,
	"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,

	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,

	"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
	"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tostring": stdlib.MakeToFunc(cty.String),
}

// functions are all functions that an expression can call.
func (o *outside) functions() map[string]function.Function {
	all := map[string]function.Function{
		"env":    o.function("env", o.env),
		"secret": o.function("secret", o.secret),
		"file":   o.function("file", o.file),
	}
	for name, f := range pure {
		all[name] = guarded(name, f)
	}
	return all
}

// lengthFunc counts characters of a text, and elements of all else.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		switch t := args[0].Type(); {
		case t == cty.String, t == cty.DynamicPseudoType, t.IsObjectType(), t.IsTupleType(), t.IsCollectionType():
			return cty.Number, nil
		}
		return cty.Number, function.NewArgErrorf(0, "a text, a list or a map is wanted")
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch t := args[0].Type(); {
		case t == cty.String:
			return stdlib.Strlen(args[0])
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		}
		return args[0].Length(), nil
	},
})

// replaceFunc takes what is to be replaced as a pattern when it stands between slashes.
var replaceFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "substring", Type: cty.String}, {Name: "replacement", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if pattern, ok := slashed(args[1].AsString()); ok {
			return stdlib.RegexReplace(args[0], cty.StringVal(pattern), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})

func slashed(text string) (string, bool) {
	if len(text) > 1 && text[0] == '/' && text[len(text)-1] == '/' {
		return text[1 : len(text)-1], true
	}
	return "", false
}

func textTest(test func(text, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(test(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// guarded makes a function safe with values from a record and with secret ones: what would eat the memory is refused, and an
// error says nothing of a marked argument. The function itself carries the marks over to its result.
func guarded(name string, f function.Function) function.Function {
	open := func(p function.Parameter) function.Parameter {
		p.AllowMarked, p.AllowNull, p.AllowUnknown, p.AllowDynamicType = true, true, true, true
		return p
	}
	spec := &function.Spec{
		Type: func(args []cty.Value) (cty.Type, error) {
			t, err := f.ReturnTypeForValues(args)
			return t, withheld(name, err, args)
		},
		Impl: func(args []cty.Value, want cty.Type) (cty.Value, error) {
			if resultSize(name, args) > maxText {
				return cty.UnknownVal(want), &cause{"Result out of range", fmt.Sprintf("What %s would give here may not fit into memory.", name)}
			}
			v, err := f.Call(args)
			if err == nil && !sane(v) {
				err = &cause{"Result out of range", fmt.Sprintf("What %s gives here is out of the usual range of numbers.", name)}
			}
			if err != nil {
				return cty.UnknownVal(want), withheld(name, err, args)
			}
			return v, nil
		},
	}
	for _, p := range f.Params() {
		spec.Params = append(spec.Params, open(p))
	}
	if p := f.VarParam(); p != nil {
		rest := open(*p)
		spec.VarParam = &rest
	}
	return function.New(spec)
}

// bounded keeps numbers in the range that can be written out, as a template does: operators refuse results beyond it. It returns
// where numbers beyond it are written.
func bounded(node hclsyntax.Node) (wrong []hcl.Range) {
	number := func(v cty.Value, at hcl.Range) {
		if v.Type() == cty.Number && !sane(v) {
			wrong = append(wrong, at)
		}
	}
	indexes := func(t hcl.Traversal) {
		for _, step := range t {
			if i, ok := step.(hcl.TraverseIndex); ok {
				number(i.Key, i.SrcRange)
			}
		}
	}
	_ = hclsyntax.VisitAll(node, func(node hclsyntax.Node) hcl.Diagnostics {
		switch n := node.(type) {
		case *hclsyntax.LiteralValueExpr:
			number(n.Val, n.SrcRange)
		case *hclsyntax.ScopeTraversalExpr:
			indexes(n.Traversal)
		case *hclsyntax.RelativeTraversalExpr:
			indexes(n.Traversal)
		case *hclsyntax.BinaryOpExpr:
			n.Op = guardedOperator(n.Op)
		case *hclsyntax.UnaryOpExpr:
			n.Op = guardedOperator(n.Op)
		}
		return nil
	})
	return wrong
}

func guardedOperator(op *hclsyntax.Operation) *hclsyntax.Operation {
	if op.Type != cty.Number {
		return op
	}
	return &hclsyntax.Operation{Impl: guarded("the operator", op.Impl), Type: op.Type}
}

// withheld is the error of a function, which may quote its arguments, as far as it may be shown.
func withheld(name string, err error, args []cty.Value) error {
	if c := (*cause)(nil); err == nil || errors.As(err, &c) {
		return err
	}
	if p := (function.PanicError{}); errors.As(err, &p) { // as of the logarithm of a negative number
		return &cause{"Error in function call", fmt.Sprintf("%s has no result for these arguments.", name)}
	}
	for _, arg := range args {
		if arg.ContainsMarked() {
			return &cause{"Error in function call", fmt.Sprintf("%s failed. Why is not shown, as an argument is sensitive.", name)}
		}
	}
	return err
}

// The bounds of what expressions work on and give: bytes of text, and values in lists and maps.
const (
	maxText   = 16 << 20
	maxValues = 250_000
)

// weight is how much a value holds.
type weight struct {
	text, values int
	sane         bool // no number in it is out of range
}

// weigh stops counting where the bounds are passed: values may hold one another many times over.
func weigh(values ...cty.Value) weight {
	w := weight{sane: true}
	for _, v := range values {
		_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
			v, _ = v.Unmark()
			w.values++
			if v.IsKnown() && !v.IsNull() {
				switch v.Type() {
				case cty.String:
					w.text += len(v.AsString())
				case cty.Number:
					w.sane = w.sane && sane(v)
				}
			}
			if w.values > maxValues || w.text > maxText {
				return false, errors.New("enough")
			}
			return true, nil
		})
	}
	return w
}

// resultSize is a bound for the bytes of what a function gives whose result may be much larger than its arguments; 0 for
// the others.
func resultSize(name string, args []cty.Value) int {
	text := func(i int) string {
		if i >= len(args) {
			return ""
		}
		v, _ := args[i].UnmarkDeep()
		if v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
			return ""
		}
		return v.AsString()
	}
	switch name {
	case "format":
		for _, n := range formatNumber.FindAllString(text(0), -1) {
			if len(n) > 4 {
				return maxText + 1
			}
		}
		if numericVerb.MatchString(text(0)) {
			for i := range args {
				if v, err := cty.ParseNumberVal(text(i)); err == nil && !sane(v) {
					return maxText + 1
				}
			}
		}
		return product(1+strings.Count(text(0), "%"), weigh(args[1:]...).text)
	case "join":
		w := weigh(args[1:]...)
		return product(w.values, len(text(0))) + w.text
	case "replace":
		pattern, ok := slashed(text(1))
		if !ok {
			return product(strings.Count(text(0), text(1)), len(text(2)))
		}
		groups := 1
		if re, err := regexp.Compile(pattern); err == nil {
			groups += len(re.FindAllStringIndex(text(0), -1))
		}
		// Each match may bring the replacement, and each $ in it all of the match.
		return product(groups, len(text(2))) + product(1+strings.Count(text(2), "$"), len(text(0)))
	case "distinct": // compares each with each
		n := weigh(args...).values
		return product(n, n)
	case "split", "regexall":
		return product(max(len(text(0)), len(text(1))), 16)
	}
	return 0
}

var (
	// formatNumber is a width, a precision or an index of an argument.
	formatNumber = regexp.MustCompile(`[0-9]+`)
	// numericVerb takes a text for the number that is written in it.
	numericVerb = regexp.MustCompile(`%[^%A-Za-z]*[bdoxXeEfgG]`)
)

func product(a, b int) int {
	n := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(b)))
	if !n.IsInt64() || n.Int64() > maxText {
		return maxText + 1
	}
	return int(n.Int64())
}

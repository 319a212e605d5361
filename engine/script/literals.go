// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

import (
	"reflect"
	"regexp"
	"slices"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/unistring"
)

// What a mapping returns is mostly object literals in one another, and to goja an object is a hash table of its members, of some 650 bytes.
// So in a script that may be given views, an object literal is compiled into a call of literalName with the values of its members, which
// makes a *literal of them. The names are those of the place in the code, and all that is made there shares them. To a script a literal is
// what an object is, as views are, but for goja's words for some TypeErrors: what it does with the two in different ways is in no script that
// has any (see unlike and listing); and where a literal can't do what an object can, the call is made once more, with the program as its
// author wrote it, and so are all later ones.

// literalName is what makes literals. It can't be written as a name in a script, nor be replaced.
const literalName = "object {}"

// listing finds, in a script's code, the means to read an error's stack, which has places in goja's program. A script that has them gets no
// literals, nor does one that has globalThis, where literalName is.
var listing = regexp.MustCompile(`\bstack\b`)

// manyMembers is how many members a literal may have, as their values are on the runtime's stack all at once.
const manyMembers = 256

// shape is what the objects of a literal have in common.
type shape struct {
	names []string
	index map[string]int // the places of many names
}

// shapes has object literals made by literalName, of which the first argument is the number of the literal's shape.
func shapes(program *ast.Program) []shape {
	var all []shape
	seen := map[uintptr]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			if object, ok := v.Interface().(*ast.ObjectLiteral); ok && v.Type() == expression {
				if s, values := shapeOf(object); s != nil {
					number := &ast.NumberLiteral{Idx: object.LeftBrace, Value: int64(len(all))}
					all = append(all, *s)
					v.Set(reflect.ValueOf(&ast.CallExpression{
						Callee:          &ast.Identifier{Name: unistring.NewFromString(literalName), Idx: object.LeftBrace},
						LeftParenthesis: object.LeftBrace, ArgumentList: append([]ast.Expression{number}, values...), RightParenthesis: object.RightBrace,
					}))
				}
			}
			walk(v.Elem())
		case reflect.Pointer:
			if v.Type() != sourceFile && !v.IsNil() && !seen[v.Pointer()] { // a declaration is in the tree twice
				seen[v.Pointer()] = true
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		}
	}
	walk(reflect.ValueOf(program))
	return all
}

var (
	expression = reflect.TypeFor[ast.Expression]()
	sourceFile = reflect.TypeFor[*file.File]()
)

// shapeOf gives the shape of a literal, and the values of its members. It is nil where a member is not just a name and a value, or where
// the name has a meaning: of a function that has none, which gets it; __proto__; and integers, which are not in the order of the text.
func shapeOf(object *ast.ObjectLiteral) (*shape, []ast.Expression) {
	if n := len(object.Value); n == 0 || n > manyMembers {
		return nil, nil
	}
	s := &shape{index: map[string]int{}}
	var values []ast.Expression
	for _, member := range object.Value {
		keyed, ok := member.(*ast.PropertyKeyed)
		if short, is := member.(*ast.PropertyShort); is && short.Initializer == nil {
			keyed, ok = &ast.PropertyKeyed{Key: &ast.StringLiteral{Value: short.Name.Name}, Kind: ast.PropertyKindValue, Value: &short.Name}, true
		}
		if !ok || keyed.Kind != ast.PropertyKindValue || keyed.Computed {
			return nil, nil
		}
		switch keyed.Value.(type) {
		case *ast.FunctionLiteral, *ast.ArrowFunctionLiteral, *ast.ClassLiteral:
			return nil, nil
		}
		key, ok := keyed.Key.(*ast.StringLiteral)
		if !ok {
			return nil, nil
		}
		name := key.Value.String()
		if _, twice := s.index[name]; twice || name == "__proto__" || isIndex(name) || !isText(name) {
			return nil, nil
		}
		s.index[name] = len(s.names)
		s.names, values = append(s.names, name), append(values, keyed.Value)
	}
	if len(s.names) <= few {
		s.index = nil
	}
	return s, values
}

// literal is an object that a literal made.
type literal struct {
	*call
	*shape
	added  []string // names of the members that came later; their values are the last ones
	values []goja.Value
}

var _ goja.DynamicObject = (*literal)(nil)

var literalType = reflect.TypeFor[*literal]()

// literal is the function literalName.
func (k *call) literal(c goja.FunctionCall) goja.Value {
	number := c.Argument(0).ToInteger()
	if number < 0 || number >= int64(len(k.script.shapes)) || len(c.Arguments)-1 != len(k.script.shapes[number].names) {
		k.change() // a script found it, and calls it
	}
	return k.vm.NewDynamicObject(&literal{call: k, shape: &k.script.shapes[number], values: slices.Clone(c.Arguments[1:])})
}

// find is the place of a member; negative: there is none.
func (l *literal) find(name string) int {
	if l.index != nil {
		if i, ok := l.index[name]; ok {
			return i
		}
	} else if i := slices.Index(l.names, name); i >= 0 {
		return i
	}
	if i := slices.Index(l.added, name); i >= 0 {
		return len(l.names) + i
	}
	return -1
}

func (l *literal) Get(name string) goja.Value {
	if i := l.find(name); i >= 0 {
		return l.values[i]
	}
	return nil
}

func (l *literal) Has(name string) bool { return l.has(name, l.find(name) >= 0) }

func (l *literal) Keys() []string {
	if l.added == nil {
		return l.names
	}
	return slices.Concat(l.names, l.added)
}

// Set takes further members as long as they are few, and as their order is that in which they came.
func (l *literal) Set(name string, v goja.Value) bool {
	i := l.find(name)
	switch {
	case i >= 0:
		l.values[i] = v
	case len(l.added) == few || isIndex(name) || !isText(name):
		return l.change()
	default:
		l.added, l.values = append(l.added, name), append(l.values, v)
	}
	return true
}

func (l *literal) Delete(name string) bool { return l.find(name) < 0 || l.change() }

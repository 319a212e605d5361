// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/sdk/schema"
)

type config struct {
	_       struct{}          `doc:"A test."`
	URL     string            `hcl:"url" doc:"Where the API is."`
	Order   string            `hcl:"order,optional" values:"asc,desc" default:"asc"`
	Timeout time.Duration     `hcl:"timeout,optional" default:"30s"`
	Retries int               `hcl:"retries,optional" default:"3"`
	Big     int64             `hcl:"big,optional"`
	Rate    float64           `hcl:"rate,optional"`
	Strict  bool              `hcl:"strict,optional" default:"true"`
	Scopes  []string          `hcl:"scopes,optional"`
	Headers map[string]string `hcl:"headers,optional"`
	Extra   json.RawMessage   `hcl:"extra,optional"`
	Auth    *auth             `hcl:"auth,block" doc:"How to log in."`
	Limits  limits            `hcl:"limits,block"`
	Feeds   []feed            `hcl:"feed,block"`
	note    string            //nolint:unused // untagged fields are left alone
	Derived string
}

type auth struct {
	Kind  string `hcl:"kind,label" values:"none,bearer"`
	Token string `hcl:"token,optional,sensitive"`
}

type limits struct {
	PerSecond float64 `hcl:"per_second"`
}

type feed struct {
	_     struct{} `doc:"A list of changes."`
	Group string   `hcl:"group,label"`
	Name  string   `hcl:"name,label"`
	Path  string   `hcl:"path"`
	Since *since   `hcl:"since,block"`
}

type since struct {
	Zone string `hcl:"zone"`
}

func TestSchemaSaysWhatTheTagsSay(t *testing.T) {
	got, err := schema.Of(&config{})
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Schema{
		Doc: "A test.",
		Attributes: []schema.Attribute{
			{Name: "url", Type: schema.String, Required: true, Doc: "Where the API is."},
			{Name: "order", Type: schema.String, Default: "asc", Values: []string{"asc", "desc"}},
			{Name: "timeout", Type: schema.Duration, Default: "30s"},
			{Name: "retries", Type: schema.Integer, Default: "3"},
			{Name: "big", Type: schema.Integer},
			{Name: "rate", Type: schema.Number},
			{Name: "strict", Type: schema.Bool, Default: "true"},
			{Name: "scopes", Type: schema.List},
			{Name: "headers", Type: schema.Map},
			{Name: "extra", Type: schema.Any},
		},
		Blocks: []schema.Block{
			{Name: "auth", Labels: []string{"kind"}, Doc: "How to log in.", Body: schema.Schema{
				Attributes: []schema.Attribute{{Name: "token", Type: schema.String, Sensitive: true}}}},
			{Name: "limits", Required: true, Body: schema.Schema{
				Attributes: []schema.Attribute{{Name: "per_second", Type: schema.Number, Required: true}}}},
			{Name: "feed", Labels: []string{"group", "name"}, Repeated: true, Doc: "A list of changes.",
				Body: schema.Schema{
					Doc:        "A list of changes.",
					Attributes: []schema.Attribute{{Name: "path", Type: schema.String, Required: true}},
					Blocks: []schema.Block{{Name: "since", Body: schema.Schema{
						Attributes: []schema.Attribute{{Name: "zone", Type: schema.String, Required: true}}}}},
				}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestUnusableStructsAreRefusedWithTheField(t *testing.T) {
	type recursive struct {
		Next *struct {
			Inner []config `hcl:"inner,block"`
		} `hcl:"next,block"`
	}
	type loop struct {
		Loop []loop `hcl:"loop,block"`
	}
	for name, c := range map[string]struct {
		in   any
		want string // "" for usable
	}{
		"nested twice is no loop": {recursive{}, ""},
		"not a struct":            {42, "not int"},
		"nil":                     {nil, "not <nil>"},
		"loop":                    {loop{}, "loop.Loop: schema_test.loop contains itself; a configuration can't be recursive"},
		"type": {struct {
			C chan int `hcl:"c"`
		}{}, "chan int can't be configured"},
		"pointer attribute": {struct {
			P *string `hcl:"p,optional"`
		}{}, "*string can't be configured"},
		"reserved": {struct {
			I bool `hcl:"isolate,optional"`
		}{}, "isolate: is the engine's own name"},
		"label at the top": {struct {
			L string `hcl:"l,label"`
		}{}, "l: a label needs a block"},
		"unexported": {struct {
			s string `hcl:"s"`
		}{}, ".s: must be exported"},
		"option": {struct {
			S string `hcl:"s,secret"`
		}{}, `unknown option "secret"`},
		"name": {struct {
			S string `hcl:"a b"`
		}{}, `"a b" is no HCL name`},
		"twice": {struct {
			A string `hcl:"s"`
			B string `hcl:"s"`
		}{}, `.B: the name "s" is used twice`},
		"optional block": {struct {
			B struct{} `hcl:"b,block,optional"`
		}{}, "only an attribute can be optional"},
		"block of strings": {struct {
			B []string `hcl:"b,block"`
		}{}, "a block is a struct"},
		"default of a required": {struct {
			S string `hcl:"s" default:"x"`
		}{}, "must be optional"},
		"default of a wrong type": {struct {
			D time.Duration `hcl:"d,optional" default:"soon"`
		}{}, "its default can't be used: must be a duration"},
		"default out of the values": {struct {
			S string `hcl:"s,optional" values:"a,b" default:"c"`
		}{}, "its default can't be used: must be one of a, b"},
		"default of a list": {struct {
			L []string `hcl:"l,optional" default:"a"`
		}{}, "has no default"},
		"values of a number": {struct {
			N int `hcl:"n" values:"1,2"`
		}{}, "only a string can have values"},
		"deep": {struct {
			B *struct {
				C complex128 `hcl:"c"`
			} `hcl:"b,block"`
		}{}, ".C: complex128 can't be configured"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Of(c.in)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestDecodeFillsTheStruct(t *testing.T) {
	var got config
	err := schema.Decode([]byte(`{
		"url": "https://x", "order": null, "timeout": "1m30s", "retries": 1e1, "big": -9223372036854775808, "rate": 2.5,
		"strict": false, "scopes": ["a", ""], "headers": {"A": "b"}, "extra": {"n": 12345678901234567890},
		"auth": {"kind": "bearer", "token": "t"}, "limits": {"per_second": 4},
		"feed": [{"group": "g", "name": "n", "path": "/n", "since": {"zone": "UTC"}}, {"group": "g", "name": "m", "path": "/m"}]
	}`), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := config{URL: "https://x", Order: "asc", Timeout: 90 * time.Second, Retries: 10, Big: -1 << 63, Rate: 2.5,
		Scopes: []string{"a", ""}, Headers: map[string]string{"A": "b"},
		Extra: json.RawMessage(`{"n": 12345678901234567890}`),
		Auth:  &auth{Kind: "bearer", Token: "t"}, Limits: limits{PerSecond: 4},
		Feeds: []feed{{Group: "g", Name: "n", Path: "/n", Since: &since{Zone: "UTC"}}, {Group: "g", Name: "m", Path: "/m"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestDecodeSetsDefaultsOfWhatIsAbsent(t *testing.T) {
	var got config
	if err := schema.Decode([]byte(`{"url": "u", "limits": {"per_second": 1}}`), &got); err != nil {
		t.Fatal(err)
	}
	want := config{URL: "u", Order: "asc", Timeout: 30 * time.Second, Retries: 3, Strict: true, Limits: limits{PerSecond: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestDecodeBlamesThePlaceAndNeverShowsTheValue(t *testing.T) {
	const ok = `"url": "u", "limits": {"per_second": 1}`
	for _, c := range []struct{ in, path, text string }{
		{`{"url": canary}`, "", "is not valid JSON"},
		{`["canary"]`, "", "must be an object"},
		{`null`, "", "must be an object"},
		{`{` + ok + `, "urll": "canary"}`, "urll", "is not known here"},
		{`{"limits": {"per_second": 1}}`, "url", "is required"},
		{`{"url": null, "limits": {"per_second": 1}}`, "url", "is required"},
		{`{"url": "u"}`, "", `the block "limits" is missing`},
		{`{"url": ["canary"], "limits": {"per_second": 1}}`, "url", "must be a string"},
		{`{` + ok + `, "order": "canary"}`, "order", "must be one of asc, desc"},
		{`{` + ok + `, "timeout": "canary"}`, "timeout", `must be a duration such as "1m30s"`},
		{`{` + ok + `, "timeout": 30}`, "timeout", `must be a duration such as "1m30s"`},
		{`{` + ok + `, "retries": 1.5}`, "retries", "must be a whole number"},
		{`{` + ok + `, "retries": "7"}`, "retries", "must be a whole number"},
		{`{` + ok + `, "retries": true}`, "retries", "must be a whole number"},
		{`{` + ok + `, "big": 9223372036854775808}`, "big", "is out of range"},
		{`{` + ok + `, "big": 9007199254740993.0}`, "big", "is out of range"}, // a float would round it
		{`{` + ok + `, "big": 1e400}`, "big", "is out of range"},
		{`{` + ok + `, "rate": 1e400}`, "rate", "must be a number within the range of a 64-bit float"},
		{`{` + ok + `, "rate": "canary"}`, "rate", "must be a number"},
		{`{` + ok + `, "strict": "canary"}`, "strict", "must be a bool"},
		{`{` + ok + `, "scopes": "canary"}`, "scopes", "must be a list of strings"},
		{`{` + ok + `, "scopes": [null]}`, "scopes", "must be a list of strings"},
		{`{` + ok + `, "headers": {"A": 1}}`, "headers", "must be a map of strings"},
		{`{` + ok + `, "auth": {"token": "canary"}}`, "auth", `the label "kind" is missing`},
		{`{` + ok + `, "auth": {"kind": "canary"}}`, "auth", `the label "kind" must be one of none, bearer`},
		{`{` + ok + `, "auth": {"kind": "bearer", "token": {"canary": 1}}}`, "auth.bearer.token", "must be a string"},
		{`{` + ok + `, "auth": [{"kind": "bearer"}]}`, "auth", "must be an object"},
		{`{` + ok + `, "feed": {"group": "canary"}}`, "feed", "must be an array of objects"},
		{`{` + ok + `, "feed": [{"group": "g", "name": "n", "path": "/", "since": {}}]}`, "feed.g.n.since.zone", "is required"},
		{`{` + ok + `, "feed": [{"group": "g", "name": "n", "path": "/"}, {"group": "g", "name": "n", "path": "/"}]}`,
			"feed.g.n", "is declared twice"},
	} {
		var into config
		err := schema.Decode([]byte(c.in), &into)
		var e *schema.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v, want a *schema.Error", c.in, err)
			continue
		}
		if e.Path != c.path || e.Text != c.text {
			t.Errorf("%s:\n got %q %q\nwant %q %q", c.in, e.Path, e.Text, c.path, c.text)
		}
		if strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: the error shows the value: %v", c.in, e)
		}
	}
}

func TestDecodeNeedsAPointerToAStruct(t *testing.T) {
	n := 1
	for _, into := range []any{config{}, (*config)(nil), &n, nil} {
		if err := schema.Decode([]byte(`{}`), into); err == nil {
			t.Errorf("decoding into %T: no error", into)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"url": "u", "limits": {"per_second": 1}, "feed": [{"group": "g", "name": "n", "path": "/"}]}`))
	f.Add([]byte(`{"big": 1e18, "timeout": "-1h", "headers": {"a": null}, "extra": [], "auth": {"kind": "none"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var into config
		err := schema.Decode(data, &into)
		var e *schema.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("got a %T: %v", err, err)
		}
		if err == nil && (into.Retries < 0 && !strings.Contains(string(data), "-") || into.Order != "asc" && into.Order != "desc") {
			t.Fatalf("accepted: %+v", into)
		}
	})
}

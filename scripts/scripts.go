// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package scripts is the JavaScript library that ships inside the binary: what a mapping imports as "rounds/redox" and
// "rounds/time"; rounds.d.ts, which tells an editor what the library and a mapping's arguments are; and the JSON Schemas of the
// models, which what a mapping returns can be checked by.
//
// A module here is evaluated anew for each record that is mapped: keep it small, and make what is big inside of functions.
// Its errors go through native("fail", text), which the engine provides (engine/script); their text is shown in logs, so it is made
// of names and never of values.
package scripts

import (
	"embed"
	"io/fs"
	"strings"
)

// FS holds the modules, "rounds/redox.js" for "rounds/redox". Those in folders are imported by the library only.
//
//go:embed rounds/*.js rounds/*/*.js
var FS embed.FS

// Schemas holds the JSON Schemas of the models, "schemas/redox/scheduling.json" for "redox/scheduling". They say what rounds.d.ts does:
// the members that a model had in public documents of 2021.
//
//go:embed schemas/redox/*.json
var Schemas embed.FS

// SchemaNames are the names of the models' schemas, in alphabetical order.
func SchemaNames() []string {
	var names []string
	files, _ := fs.Glob(Schemas, "schemas/redox/*.json") // fails on a bad pattern only
	for _, f := range files {
		if name := strings.TrimSuffix(strings.TrimPrefix(f, "schemas/"), ".json"); name != "redox/common" {
			names = append(names, name)
		}
	}
	return names
}

// Types is rounds.d.ts.
//
//go:embed rounds.d.ts
var Types []byte

// Modules are the names to import, in alphabetical order.
func Modules() []string {
	files, _ := fs.Glob(FS, "rounds/*.js") // fails on a bad pattern only
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".js")
	}
	return files
}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package scripts is the JavaScript library that ships inside the binary: what a mapping imports as "rounds/redox" and
// "rounds/time", and rounds.d.ts, which tells an editor what the library and a mapping's arguments are.
//
// A module here is evaluated anew for each record that is mapped: keep it small, and make what is big inside of functions.
// Its errors go through __rounds("fail", text), which the engine provides (engine/script); their text is shown in logs, so
// it is made of names and never of values.
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

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package examples holds configurations that run as they stand. The quickstart is also inside the binary, for the demo.
package examples

import "embed"

// Files has the quickstart at "quickstart".
//
//go:embed quickstart
var Files embed.FS

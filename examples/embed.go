// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package examples holds configurations that run as they stand, and adapters. The quickstart is also inside the binary, for the demo, and
// the minimal adapter, to begin others with.
package examples

import "embed"

// Files has the quickstart at "quickstart" and the adapter at "adapter-minimal".
//
//go:embed quickstart
//go:embed adapter-minimal/*.go adapter-minimal/*.hcl adapter-minimal/*.js adapter-minimal/*.md
var Files embed.FS

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

// Skip leaves rules out.
func Skip(o *Options, rules ...string) { o.skip = rules }

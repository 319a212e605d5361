// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script

// CodeOf is the generated code of a script, with all that it imports.
func CodeOf(s *Script) string { return s.code }

// Differences are the paths by which two JSON documents differ.
func Differences(part string, a, b []byte) []string { return differences(part, a, b) }

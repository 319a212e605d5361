// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main

// noCoreDump has nothing to do: Go's runtime switches Windows Error Reporting off, unless GOTRACEBACK is "wer".
func noCoreDump() {}

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

// Functions are the names of all functions that an expression can call.
func Functions() []string { return keys((&outside{}).functions()) }

// ReadCSV reads two columns of a CSV file.
var ReadCSV = readCSV

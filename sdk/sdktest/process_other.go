// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sdktest

// readMeasure can read nothing on this system.
func readMeasure(int) measure { return measure{} }

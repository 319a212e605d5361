// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package httpx

import "io"

func stage([][]byte, int, io.Reader, int64) ([]byte, error) { return nil, errNoStage }

// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package adapterpb is the wire form of the contract between the engine and an adapter, generated from adapter.proto.
// Adapters written in Go use package sdk instead.
package adapterpb

//go:generate ./generate.sh

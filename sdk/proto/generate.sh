#!/bin/sh
# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

# Regenerates adapter.pb.go and adapter_grpc.pb.go from adapter.proto. Needs Go and a module proxy, nothing else; the
# tools are built outside of this module, at the versions below. The first run compiles buf, which takes a minute or two.
set -eu
cd "$(dirname "$0")"

buf=v1.75.0
protoc_gen_go=v1.36.12 # as google.golang.org/protobuf in go.mod
protoc_gen_go_grpc=v1.6.2

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
export GOBIN="$bin" GOFLAGS=
go install "google.golang.org/protobuf/cmd/protoc-gen-go@$protoc_gen_go"
go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$protoc_gen_go_grpc"
go install "github.com/bufbuild/buf/cmd/buf@$buf"

# Adapters in other languages have a copy.
for example in node python; do cp adapter.proto "../../examples/adapter-$example/"; done

PATH="$bin:$PATH" buf generate --template '{
  "version": "v2",
  "plugins": [
    {"local": "protoc-gen-go", "out": ".", "opt": "paths=source_relative"},
    {"local": "protoc-gen-go-grpc", "out": ".", "opt": "paths=source_relative"}
  ]
}'

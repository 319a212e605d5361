# SPDX-FileCopyrightText: The Rounds authors
# SPDX-License-Identifier: Apache-2.0

.PHONY: build demo test lint fmt proto bench bench-compare fuzz crash simulate soak release-snapshot reproducible ci

build: ## the binary, ./rounds
	go build -o rounds ./cmd/rounds

demo: ## the main job, with a sample EHR
	go run ./cmd/rounds demo

test: ## everything, with the race detector
	go test -race ./...

lint: ## golangci-lint, as CI runs it
	.ci/lint

fmt:
	gofmt -w cmd engine examples plugins scripts sdk

proto: ## the generated code of sdk/proto
	sdk/proto/generate.sh

bench: ## what is promised of speed, beside a bare Go loop and a Node.js script; ARGS="--only steady", ARGS="--rows 10000000"
	go run ./cmd/rounds-bench $(ARGS)

bench-compare: ## the benchmarks of the stages here and in another commit, BASE=main~1, BENCH=Commit
	.ci/bench-compare "$(or $(BASE),HEAD~1)" "$(or $(BENCH),.)"

fuzz: ## every fuzz target for three minutes, one on each processor; keeps a share of what they find
	.ci/fuzz 180s
	.ci/fuzz-keep

crash: ## real processes, killed 300 times
	ROUNDS_LONG=300 go test -v -count=1 -timeout 3h -run WhenTheProcessesAreKilled ./cmd/rounds

simulate: ## an engine in memory and fake time, with a mishap at each write, for half an hour
	ROUNDS_LONG=30 go test -v -count=1 -timeout 1h -run AtEveryWritePoint ./engine/pipeline

soak: ## ten million changes in a month of fake time, which takes an hour; figures in docs/soak.csv and docs/soak.svg
	ROUNDS_SOAK=10000000 go test -v -count=1 -timeout 3h -run NothingGrows ./engine

release-snapshot: ## what a release would be, in ./dist
	.ci/release release --snapshot --clean

reproducible: ## two builds of a release, compared
	.ci/reproducible

ci: ## what decides whether a change lands
	.ci/run

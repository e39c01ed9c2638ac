# nominald: every target does its own set-up on a Debian machine that has Go
# (1.21 or later: go.mod's toolchain line fetches the right one), git and make.
# Steps of more than a line live in .ci/ and packaging/.
SHELL    := /bin/bash -o pipefail
VERSION  ?= $(shell packaging/version.sh)
BUILD    := -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"
FUZZTIME ?= 30s
COUNT    ?= 1000000
SEED     ?=
ARCH     ?=
ONLY     ?=
SEEDS    ?=
FULL     ?=
KILLS    ?=

export CGO_ENABLED ?= 0
export SEED

.DEFAULT_GOAL := help
.PHONY: help build test race demo bench bench-bus bench-round bench-store score score-live soak-bus soak-store fuzz lint cross deb ci clean toolchain

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

toolchain:
	@.ci/toolchain

build: toolchain ## the static binaries for this machine, in build/
	@mkdir -p build
	go build $(BUILD) -o build/ ./cmd/...

test: toolchain ## vet, then every test with the race detector
	.ci/test $(TESTFLAGS)

race: toolchain ## every test three times with the race detector
	.ci/test -count=3

demo: build ## one dispatch from award to report on a simulated site, nothing to configure
	build/nominald demo

bench: build ## measure, and keep the figures in build/figures/bench.txt
	.ci/figures bench go run ./gateway/bench

bench-bus: toolchain ## measure the wires: serial lines paced at their baud rate, Modbus TCP, a crowded line
	.ci/figures bench-bus go run ./gateway/bench bus

soak-bus: toolchain ## a million spoiled transactions, or COUNT of them, on lines of every kind; SEED repeats a run
	.ci/figures soak-bus .ci/soak $(COUNT)

soak-store: toolchain ## kill the store's writer 2,000 times (or KILLS), spoil as many files, measure one of 100 MB
	SOAK_STORE=$(or $(KILLS),2000) .ci/figures soak-store go test -v -count=1 -timeout 60m -run 'TestKill|TestRandomSectorsOf|TestMeasure' ./gateway/store

bench-store: toolchain ## measure what the load log and the store write to a card, as root, about 8 min
	.ci/figures bench-store go run ./gateway/bench store

bench-round: toolchain ## measure one control round at 5, 50 and 500 devices with 500 timeslots
	.ci/figures bench-round go run ./gateway/bench round

score: toolchain ## play the reference scenarios: table, figures, a plot each in build/score/ (ONLY=A,K, SEEDS=8)
	.ci/figures score go run ./gateway/score -only "$(ONLY)" -seeds $(or $(SEEDS),8)

score-live: toolchain ## play three of them in real time through sockets, 36 min (FULL=1: as long as they are, over 2 h)
	.ci/figures score-live go run ./gateway/score -live $(if $(FULL),-full)

fuzz: toolchain ## each fuzz target for FUZZTIME (30s)
	.ci/fuzz $(FUZZTIME)

lint: toolchain ## gofmt, vet, staticcheck, shape of the tree
	.ci/lint

cross: toolchain ## the static binaries for 64- and 32-bit Raspberry Pis, in build/linux-*/
	@mkdir -p build/linux-arm64 build/linux-armv6 build/linux-armv7
	GOOS=linux GOARCH=arm64 go build $(BUILD) -o build/linux-arm64/ ./cmd/...
	GOOS=linux GOARCH=arm GOARM=6 go build $(BUILD) -o build/linux-armv6/ ./cmd/...
	GOOS=linux GOARCH=arm GOARM=7 go build $(BUILD) -o build/linux-armv7/ ./cmd/...

deb: toolchain ## the Debian package, in build/ (ARCH=amd64, arm64 or armhf; default this machine's)
	VERSION=$(VERSION) packaging/deb.sh $(ARCH)

ci: ## all that a change must pass
	.ci/run

clean: ## remove build/
	rm -rf build

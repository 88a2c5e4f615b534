# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
GO ?= go
BIN := bin
# The same for every build and test, so that they share the build cache.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath
# What labs of demo, test and bench move packets with unless they say: embedded or
# kernel; empty for the forwarder's choice.
export FORWARDING_PLANE
PROGRAMS := forwarder nsmgr registry nsc nse
# Modules of the tree, each with tests of its own.
MODULES := .,compat/api,compat/genericsync,compat/grpcfd,compat/sdk
# Debian's packages: what the tests, the demo and the benchmarks run besides
# our own programs, and the peers that they are tested against.
DEBS := iproute2 iputils-ping tcpdump iperf3 ethtool wireguard-tools wireguard-go \
	dpdk librte-net-af-xdp23 librte-net-memif23 qemu-system-x86
# What regenerating committed code needs.
GENERATE_DEBS := clang llvm libbpf-dev linux-libc-dev libc6-dev protobuf-compiler libprotobuf-dev
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# install-debs installs those of the packages $(1) that are missing.
define install-debs
	@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2>&1 \
		| awk '/no packages found matching/ { print $$NF } NF == 2 && $$2 != "installed" { print $$1 }'); \
	if [ -n "$$missing" ]; then \
		echo "installing $$missing"; \
		[ $$(id -u) = 0 ] && sudo= || sudo=sudo; \
		$$sudo apt-get -qq update && \
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: deps
deps: ## install what the other targets need, from Debian's packages and Go modules
	$(call install-debs,$(DEBS))
	@test/vm/fetch-kernel.sh
	@$(GO) mod download

.PHONY: deps-generate
deps-generate:
	$(call install-debs,$(GENERATE_DEBS))

.PHONY: build
build: ## compile the programs into bin/
	@mkdir -p $(BIN)
	$(GO) build -ldflags '-s -w' -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: generate
generate: deps-generate ## compile the classifier and the protocol's messages again
	$(GO) generate ./...
	cd compat/api && ./generate.sh

.PHONY: test
test: deps deps-generate build ## run all tests; root is needed for most
	$(GO) vet ./...
	NSM_BIN=$(abspath $(BIN)) $(GO) run ./test/runner -modules $(MODULES) -alone ./test/usecases -guests ./test/vm

.PHONY: bench
bench: deps build ## compare with the named peers in one run; results in out/bench.json
	$(GO) run ./test/bench -bin $(BIN) -out out/bench.json

.PHONY: demo
demo: deps build ## link two nodes over AF_XDP and show it (USE_CASE=name,name); root is needed
	$(BIN)/forwarder demo $(if $(USE_CASE),--use-case $(USE_CASE))

.PHONY: lint
lint: ## run golangci-lint and shellcheck
	$(GO) run $(GOLANGCI) run ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) out

# What people do in this project. `make` alone lists it. Nothing here needs a fixed port, root, or a cluster that is there already.

SHELL := /bin/sh
CARGO ?= cargo
GO ?= go
# auto: real nodes where that is possible, else simulated ones.
NODES ?= auto
# Clusters are one machine's: more tests at a time than this make each other wait.
TEST_THREADS ?= 4
ARGS ?=
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
RELEASE_BIN := $(or $(CARGO_TARGET_DIR),target)/release

export NODES

.DEFAULT_GOAL := help
.PHONY: help demo test bench image image-check generate check packages clean need-cargo need-go

help: ## List what can be made
	@echo "Trimtab: releases of Kubernetes workloads"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  NODES=auto|real|simulated   what the pods of demo and test run on ($(NODES))"
	@echo "  YES=1                       install the packages of real nodes without asking"
	@echo "  KEEP=1                      leave the demo's cluster up"
	@echo "  ARGS='--test release'       what else to tell cargo test"
	@echo "  ARGS='releases idle'        which parts of the benchmark to run: releases, idle, reloads, autoscalers, hpa, framework"

need-cargo:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

need-go:
	@command -v $(GO) >/dev/null 2>&1 || [ -n "$$KUBEBUILDER_ASSETS" ] || { \
	  echo "go is missing: install Go 1.26 or newer from https://go.dev/dl, it builds the local cluster" >&2; exit 1; }

demo: need-cargo need-go ## Boot a cluster; show a canary, a promotion, and a broken image taken back
	@$(CARGO) build -p trimtab-cli -p trimtab-controllers
	@exec $(BIN)/trimtab demo --nodes $(NODES)

test: need-cargo need-go ## Run all tests, with a cluster of their own
	@$(CARGO) build --workspace --all-targets
	@nodes=$$($(BIN)/trimtab local choose --nodes $(NODES)) && \
	exec $(BIN)/with-cluster --nodes $$nodes -- \
	  $(CARGO) test --workspace --no-fail-fast $(ARGS) -- --test-threads $(TEST_THREADS)

bench: need-cargo need-go ## Measure, on a cluster with simulated nodes
	@$(CARGO) build --release --workspace --bins --examples
	@exec $(RELEASE_BIN)/with-cluster --nodes simulated -- $(RELEASE_BIN)/bench $(ARGS)

image: need-cargo ## The manager's image, as an OCI archive in target/image; no container engine
	@$(CARGO) run -q -p trimtab-image

image-check: need-cargo ## The same twice, in different folders: both must be equal to the bit
	@$(CARGO) run -q -p trimtab-image -- --twice

generate: need-cargo ## Write the files that are made from the code: crds/*.yaml, the chart's permissions
	@$(CARGO) run -q -p trimtab-crds --bin generate
	@$(CARGO) run -q -p trimtab-controllers --bin generate-permissions

check: need-cargo ## Formatting, lints, documentation, generated files, licences
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy -q --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q --workspace --no-deps --document-private-items
	$(CARGO) run -q -p trimtab-crds --bin generate -- --check
	$(CARGO) run -q -p trimtab-controllers --bin generate-permissions -- --check
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed, licences and bans are not checked: cargo install cargo-deny"; fi

packages: need-cargo ## Install what real nodes need (Debian); asks first, unless YES=1
	@$(CARGO) run -q -p trimtab-cli -- local packages

clean: need-cargo ## Remove what was built here; the cluster's parts stay in the user's cache folder
	@$(CARGO) clean

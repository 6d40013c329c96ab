# What people do in this project. `make` alone lists it. Nothing here needs a fixed port, root, or a cluster that is there already.

SHELL := /bin/sh
CARGO ?= cargo
GO ?= go
# auto: real nodes where that is possible, else simulated ones.
NODES ?= auto
ARGS ?=
# How many histories of a release `make soak` plays.
export SOAK_HISTORIES ?= 20000
# For how many minutes one namespace does whatever could harm another.
export SOAK_MINUTES ?= 10
# A part of a test's name: only such tests are run.
TEST ?=
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
RELEASE_BIN := $(or $(CARGO_TARGET_DIR),target)/release

export NODES

.DEFAULT_GOAL := help
# Programs that checks and tests need, built once for all checkouts of this user.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trimtab/tools
NEXTEST_VERSION := 0.9.151
DENY_VERSION := 0.20.2
export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: help demo test soak soak-hostile bench image image-development image-check generate check packages tools-test tools-check clean need-cargo need-go

help: ## List what can be made
	@echo "Trimtab: releases of Kubernetes workloads"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  NODES=auto|real|simulated   what the pods of demo and test run on ($(NODES))"
	@echo "  YES=1                       install the packages of real nodes without asking"
	@echo "  KEEP=1                      leave the demo's cluster up"
	@echo "  TEST=a_change_is_tried      only the tests whose names have this in them"
	@echo "  ARGS='--no-capture'         what else to tell cargo nextest run"
	@echo "  ARGS='releases idle'        which parts of the benchmark to run: releases,"
	@echo "                              idle, reloads, autoscalers, hpa, framework"

need-cargo:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

need-go:
	@command -v $(GO) >/dev/null 2>&1 || [ -n "$$KUBEBUILDER_ASSETS" ] || { \
	  echo "go is missing: install Go 1.26 or newer from https://go.dev/dl, it builds the local cluster" >&2; exit 1; }

# $(call tool,NAME,VERSION,FEATURES): an unoptimised build is quick to make and quick enough to run.
define tool
@[ "$$($(TOOLS)/bin/$(1) --version 2>/dev/null | head -n 1 | cut -d' ' -f2)" = "$(2)" ] || { \
  echo "building $(1) $(2), once: about two minutes"; \
  $(CARGO) install --quiet --locked --debug --no-track --force --root "$(TOOLS)" --target-dir "$(TOOLS)/build" --version $(2) $(3) $(1) && \
  rm -rf "$(TOOLS)/build"; }
endef

tools-test: need-cargo
	$(call tool,cargo-nextest,$(NEXTEST_VERSION),--no-default-features --features default-no-update)

tools-check: need-cargo
	$(call tool,cargo-deny,$(DENY_VERSION),)

demo: need-cargo need-go ## A cluster, a canary, a promotion, a broken image taken back
	@$(CARGO) build --workspace --bin build-parts
	@echo "building the manager and the command line with cargo, about three minutes on two cores the first time"
	@$(BIN)/build-parts $(NODES) & parts=$$!; \
	$(CARGO) build --workspace --bin trimtab --bin trimtab-manager || { kill $$parts; exit 1; }; \
	wait $$parts || exit 1; \
	exec $(BIN)/trimtab demo --nodes $(NODES)

test: need-cargo need-go tools-test ## Run all tests, with clusters of their own
	@exec tests/run.sh $(NODES) $(if $(TEST),-E 'test(/$(TEST)/)') $(ARGS)

# The two programs that the benchmark's part `framework` compares: built when that part is run, as it is when none is named.
FRAMEWORK := --example bench_configmaps --example bench_kube_runtime
BENCH_EXAMPLES = $(if $(strip $(ARGS)),$(if $(filter framework,$(ARGS)),$(FRAMEWORK)),$(FRAMEWORK))

soak: need-cargo need-go tools-test image ## The long runs, before a release: histories of a week, a hostile namespace
	@KILLS=both tests/run.sh simulated -E 'test(/killed::/)'
	@TRIMTAB_IMAGE=$(abspath $(or $(CARGO_TARGET_DIR),target))/image/trimtab-manager.tar \
	  tests/run.sh auto --test-threads 3 -E 'test(/^(image|install|killed)::/)'
	@$(CARGO) nextest run --workspace --profile soak --run-ignored only --no-capture -E 'test(/soak/) & !test(/hostile/)'
	@$(MAKE) soak-hostile

soak-hostile: need-cargo need-go tools-test ## The last part of it: one namespace does whatever could harm another
	@$(CARGO) build --release --workspace --bin trimtab-manager
	@TRIMTAB_MANAGER=$(abspath $(RELEASE_BIN))/trimtab-manager \
	  tests/run.sh simulated --profile soak --run-ignored only --no-capture -E 'test(/hostile::soak/)'

bench: need-cargo need-go ## Measure, on a cluster with simulated nodes
	@$(CARGO) build --release --workspace --bin trimtab-manager --bin with-cluster --bin bench $(BENCH_EXAMPLES)
	@exec $(RELEASE_BIN)/with-cluster --nodes simulated -- $(RELEASE_BIN)/bench $(ARGS)

image: need-cargo ## The manager's image, an OCI archive in target/image
	@$(CARGO) build -q --workspace --bin image
	@$(BIN)/image

image-development: need-cargo ## The same, unoptimised and in seconds: for local clusters
	@$(CARGO) build -q --workspace --bin image
	@$(BIN)/image --development

image-check: need-cargo ## The image twice: both must be equal to the bit
	@$(CARGO) build -q --workspace --bin image
	@$(BIN)/image --twice

# Programs are built with the features of the whole workspace, or each selection of packages would compile the dependencies anew.
GENERATORS := --workspace --bin generate --bin generate-permissions

generate: need-cargo ## Write what is made from the code: crds, the chart's roles
	@$(CARGO) build -q $(GENERATORS)
	@$(BIN)/generate
	@$(BIN)/generate-permissions

check: need-cargo tools-check ## Formatting, lints, documentation, generated files, licences
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy -q --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q --workspace --no-deps --document-private-items
	$(CARGO) build -q $(GENERATORS)
	$(BIN)/generate --check
	$(BIN)/generate-permissions --check
	$(CARGO) deny check bans licenses sources

packages: need-cargo ## Install what real nodes need (Debian); asks first
	@$(CARGO) build -q --workspace --bin trimtab
	@$(BIN)/trimtab local packages

clean: need-cargo ## Remove what was built here; cached programs stay
	@$(CARGO) clean

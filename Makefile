# The two commands of Myelin are `make run` and `make test`. `make` alone lists all of them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/myelin/target

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build and start the server on http://localhost:8008, with its data in ./data
	@scripts/run

.PHONY: test
test: ## Check everything: format, lints, tests, real clients, crashes, documentation
	@scripts/test

.PHONY: check
check: ## The fast part of it, without RocksDB: format, lints, tests in memory
	@scripts/setup check
	@cargo fmt --all --check
	@scripts/cargo clippy --locked --no-default-features --all-targets -- --deny warnings
	@scripts/cargo test --locked --no-default-features

.PHONY: config-example
config-example: ## Write config.example.toml anew, after a change of the options
	@text=$$(scripts/cargo run --quiet --no-default-features -- config example) && echo "$$text" > config.example.toml

.PHONY: simulate
simulate: ## Let SEEDS=1000 random rooms of each version converge, and as many schedules of whole servers; what fails is named by its seed
	@scripts/setup build
	@MYELIN_SEEDS="$${SEEDS:-1000}" scripts/cargo test --locked --no-default-features --release --test it -- graph::convergence simulation::

.PHONY: interop
interop: ## Let real clients, matrix-js-sdk and matrix-nio, talk through a built server
	@scripts/setup test
	@scripts/cargo build --locked
	@tests/interop/run "$$CARGO_TARGET_DIR/debug/myelin"

.PHONY: federate
federate: ## Let a built server and Synapse federate
	@scripts/setup test
	@scripts/cargo build --locked
	@tests/interop/federation/run "$$CARGO_TARGET_DIR/debug/myelin"

.PHONY: crash
crash: ## Kill a built server 50 times under load, and look for what it had acknowledged
	@scripts/setup test
	@scripts/cargo build --locked --release
	@tests/interop/kill9 "$$CARGO_TARGET_DIR/release/myelin"

.PHONY: complement
complement: ## Run the Matrix project's own suite, or of it TESTS=regex, and write complement/results.tsv
	@scripts/complement $(if $(TESTS),'$(TESTS)')

.PHONY: bench
bench: ## Measure a release build: every workload, latencies, CPU for each operation
	@scripts/setup test
	@benches/run

# The commands of the project. `make demo` and `make test` do all their set-up themselves.

.PHONY: help demo study image test long fuzz quick lint generate golden story soak faults bench clean

# While editing: without optimization a build takes seconds, with it minutes.
QUICK = --config profile.dev.package.stepgate.opt-level=0

help: ## What can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Good and bad releases on a real cluster (STRATEGY=rolling, blueGreen or weighted plays another way; KEEP=1 keeps it; NAME=other is another one).
	@tests/programs/demo/run $(if $(STRATEGY),--strategy=$(STRATEGY)) $(if $(findstring command,$(origin NAME)),--name=$(NAME))

study: ## A column is renamed over two million rows under 1,000 requests a second (ROWS=, RATE=, OUT=folder).
	@tests/programs/demo/run --name=study study $(if $(ROWS),--rows=$(ROWS)) $(if $(RATE),--rate=$(RATE)) $(if $(OUT),--out=$(OUT))

image: ## An image: the operator's, or BIN=stepgate-sql (IMAGE=your.registry/stepgate PUSH=1 PLATFORMS=linux/amd64,linux/arm64).
	@deploy/image/build

test: ## Everything that CI asks for, with a verdict at the end.
	@tests/run

long: ## What takes too long for CI: real gateways, Flux's library, a flag's whole ramp, phases that are cut off, outages.
	@tests/run long

fuzz: ## A thousand mutations of Rollouts and DatabaseSchemas on a real API server (SEED=, MUTATIONS= set others).
	@SEED=$(SEED) MUTATIONS=$(MUTATIONS) tests/run fuzz

quick: ## While editing: unit tests and golden stories, in half a minute.
	cargo test --quiet $(QUICK) --workspace --lib
	cargo test --quiet $(QUICK) --workspace --test simulate stories

lint: ## Formatting, clippy, documentation.
	@tests/run lint

generate: ## Every generated file: definitions, the chart's copies, the install manifest.
	@tests/generate

golden: ## The stories, the examples, reasons and rules in docs, written anew.
	UPDATE_GOLDEN=1 cargo test --quiet --test simulate --test cli
	UPDATE_GOLDEN=1 cargo test --quiet --package stepgate-lint --lib catalogue
	UPDATE_GOLDEN=1 cargo test --quiet --lib plan::reason

story: ## One story, with every write of the operator (NAME=good).
	@RUST_BACKTRACE=0 NAME='$(NAME)' cargo test --quiet --test simulate story -- --exact --ignored --nocapture

soak: ## A million random schedules (SCHEDULES=, SEED= set others).
	@tests/soak

faults: ## Broken rules, planted one by one: does the suite notice? (FAULTS=name,name plants those)
	@tests/faults/run

bench: ## The figures, in one table.
	@tests/programs/bench/run

clean: ## Removes every test cluster, and what cargo built.
	-tests/programs/cluster/cluster down --all
	cargo clean

# Everything a developer does here. SWIFT_* variables of the environment reach what is started.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Where torch alone is looked for; unset: where pip looks.
TORCH_INDEX_URL ?=
comma := ,
# The fleet talks to itself over loopback, whatever proxy this machine has.
export NO_PROXY := $(if $(NO_PROXY),$(NO_PROXY)$(comma),)127.0.0.1,localhost
export no_proxy := $(NO_PROXY)

# One process more than there are cores: the tests of fleets wait for other processes much of the time. The
# tests of a file share what they have started, so they run in one process, and so do all files that start
# fleets (tests/distribution.py).
SPREAD := --numprocesses=$(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist=loadfile

# Of the parity matrix: one in EVERY rows.
EVERY ?= 1

# Of the demo: emoji-sd or tiny-flux.
MODEL ?=

# Random inputs for each property of the fuzzers.
EXAMPLES ?= 5000

# Of a chaos run; its workers, and FAULTS=kill,sigterm for some of its faults alone. SATURATED=1: jobs always wait;
# JOBS=1000: short ones, until so many are accepted. PRIORITIES=1: jobs of all priorities, some are preempted.
# TENANTS=5: so many tenants with API keys have them. MIXED_CATALOG=1: models of every architecture, with memory
# for about half of them.
MINUTES ?= 5
SEED ?= 1
UNETS ?= 2
CONTROLNETS ?= 2
FAULTS ?=
SATURATED ?=
PRIORITIES ?=
TENANTS ?=
MIXED_CATALOG ?=

.DEFAULT_GOAL := help
.PHONY: help demo up down test test-programs test-unit test-gpu fuzz chaos parity console lint format bench bench-quick train lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## install, start the fleet, generate one image, stop (MODEL=tiny-flux: by a small random Flux)
	@$(BIN)/python -m infra.local demo $(if $(MODEL),--model $(MODEL))

up: $(INSTALLED) ## run the fleet until Ctrl-C or make down; DETACH=1: in the background
	@$(BIN)/python -m infra.local up $(if $(DETACH),--detach)

down: $(INSTALLED) ## stop the fleet of make up
	@$(BIN)/python -m infra.local down

test: $(INSTALLED) test-programs ## every test: real Redis, real S3, real workers
	$(BIN)/pytest $(SPREAD)

test-programs: ## install Node's packages and Chromium for tests; say what is missing
	@infra/setup/node_and_chromium.sh

test-unit: $(INSTALLED) ## tests that need no server: in a minute
	$(BIN)/pytest $(SPREAD) --unit

test-gpu: $(INSTALLED) ## tests that need an NVIDIA GPU; without one all are skipped
	$(BIN)/pytest -m gpu -rs

parity: $(INSTALLED) ## the whole parity matrix (hours; EVERY=10: a tenth); its table: .run/parity.md
	$(BIN)/pytest tests/parity --parity=full --every=$(EVERY) --numprocesses=auto

fuzz: $(INSTALLED) ## the fuzzers at length (EXAMPLES=N inputs for each property)
	$(BIN)/pytest tests/fuzz --fuzz-examples=$(EXAMPLES) --numprocesses=auto --timeout=0

chaos: $(INSTALLED) ## kill, stop, starve and fill a fleet under load for MINUTES=5, then check it
	$(BIN)/python -m infra.chaos --minutes $(MINUTES) --seed $(SEED) --unet-workers $(UNETS) \
		--controlnet-workers $(CONTROLNETS) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SATURATED),--saturated) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(PRIORITIES),--priorities) \
		$(if $(TENANTS),--tenants $(TENANTS)) $(if $(MIXED_CATALOG),--mixed-catalog)

console: ## build the console's page into api/console/static, with Node and npm
	npm --prefix api/console ci --ignore-scripts --no-audit --no-fund --silent
	node api/console/build.js

lint: $(INSTALLED) ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## run all benchmarks; PART=name for one
	$(BIN)/python -m infra.bench $(PART)

bench-quick: $(INSTALLED) ## the same in under five minutes
	$(BIN)/python -m infra.bench --quick $(PART)

train: $(INSTALLED) ## train the embedded model again, into .run/train
	$(BIN)/python -m infra.emoji.training --out .run/train

clean: ## remove the installation, all state and all caches
	@$(PYTHON) -m infra.local.home_lock $${SWIFT_HOME:-.run}
	@$(PYTHON) -m infra.local.home_lock .run
	rm -rf .venv .run demo.png build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name node_modules -prune -exec rm -rf {} +
	find . -name __pycache__ -prune -exec rm -rf {} +

lock: ## write infra/requirements.lock again, after a change of pyproject.toml or infra/constraints.txt
	$(PYTHON) infra/lock.py

$(INSTALLED): pyproject.toml infra/constraints.txt infra/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.11")'
	@echo "Installing into .venv: a few minutes, once …"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --no-deps -r infra/requirements.lock
	@$(PIP) -c infra/constraints.txt $(if $(TORCH_INDEX_URL),--index-url=$(TORCH_INDEX_URL)) torch
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/pip check --disable-pip-version-check
	@touch $@

# make help lists what there is. Needs Python 3.11 or newer; everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach it,python3.11 python3 python,$(shell $(it) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(it))))

# What pip says, as a line now and then: how many packages it has, and that it is unpacking them.
PACKAGES = $(shell grep -c '^[a-z0-9].*==' requirements.lock)
COUNTED = awk -v of=$(PACKAGES) '/^Collecting/ {n++; if (n % 20 == 0) {print "  " n " of " of " packages fetched"; fflush()}} \
	/^Installing collected/ {print "  all fetched; unpacking them takes half a minute"; fflush()}'

.PHONY: help demo up up-real test lint bench soak audit lock clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## a whole campaign to 5,000 people in the sandbox, then the report (about a minute)
	@$(BIN)/python -m msgxc.demo

up: $(STAMP) ## the system, kept running until Ctrl-C: console, worker, sandbox providers
	@$(BIN)/python -m msgxc.system

up-real: $(STAMP) ## the same on Cassandra, NATS, PostgreSQL and Redis, without docker (servers/README.md)
	@$(BIN)/python -m msgxc.real

test: $(STAMP) ## all checks and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 3 --dist loadscope --no-loadscope-reorder

lint: $(STAMP) ## format, then check style and types
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

bench: $(STAMP) ## how fast it is, channel by channel, on this machine
	@$(BIN)/python -m benchmarks

soak: $(STAMP) ## random faults for SOAK_MINUTES (30) on both stores: lost, repeated, memory, open files
	@$(BIN)/python -m benchmarks.soak --keep

audit: $(STAMP) ## AUDIT_PEOPLE (1000000) on Cassandra, ten processes killed: planned, accepted, repeated
	@$(BIN)/python -m benchmarks.audit --keep

lock: $(STAMP) ## pin the newest versions that fit pyproject.toml
	$(BIN)/pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade --group dev --output-file requirements.lock pyproject.toml

clean: ## remove .venv, all that make up and make up-real have written, and caches
	@# What PostgreSQL keeps outside, where root has started it: of homes in this folder's var, and of no other.
	@for of in /var/lib/msgxc/*/home; do \
		if [ -r "$$of" ]; then case "$$(cat "$$of")" in \
			"$(CURDIR)"/var/*) echo "rm -rf $${of%/home}"; rm -rf "$${of%/home}";; \
		esac; fi; \
	done
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an install that was interrupted is done again.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into $(VENV) (once)"
	@rm -f $@
	@$(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes --progress-bar off \
		-r requirements.lock | $(COUNTED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

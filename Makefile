# calmops: `make up` serves the shipped model here; `make test` shows that what we claim holds.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= $(HOME)/.cache/calmops/venv
BIN := $(VENV)/bin
DIGEST := $(shell cat constraints.txt pyproject.toml | sha256sum | cut -c1-32)
STAMP := $(VENV)/.calmops-$(DIGEST)
LINK := $(VENV)/.calmops-link
HERE := $(CURDIR) $(patsubst %/__init__.py,%,$(wildcard */__init__.py)) $(firstword $(DIGEST))
PYTEST := $(BIN)/python -m pytest -q
ENGINE_TESTS := tests/unit/calmops/engine
export OMP_NUM_THREADS ?= 1

.PHONY: help up down check unit unit-engine integration test prove prove-long bench gen install tools

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp is inside the environment and has the digest of what was asked for in its name: a fresh clone is quick.
$(STAMP):
	@.ci/packages
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@rm -f $(VENV)/.calmops-*
	@touch $@

install: $(STAMP) ## make a virtual environment in VENV, every version pinned, tied to this checkout
	@test "$$(cat $(LINK) 2>/dev/null)" = "$(HERE)" || { \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . 2>/dev/null >/dev/null \
	    || $(BIN)/python -m pip install --no-deps -e . || exit 1; echo "$(HERE)" > $(LINK); }

up: install ## serve the shipped model on this machine (http://127.0.0.1:8000)
	$(BIN)/calmops up

down: install ## stop what `make up` started
	$(BIN)/calmops down

# pyproject.toml says which files that are; the proofs, which have no suffix, are among them.
check: install ## check every Python file: ruff, the formatter, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: install ## run the unit tests except the engine's, on two workers (at most 90 s on two cores)
	@.ci/timed "make unit" 90 $(PYTEST) -n 2 --ignore $(ENGINE_TESTS) tests/unit

unit-engine: install ## run the engine's unit tests: real ranks, compiled kernels (minutes)
	@.ci/timed "make unit-engine" 600 $(PYTEST) $(ENGINE_TESTS)

integration: install ## run the tests with a real broker, Prometheus and collector; `make tools` gets them
	@.ci/timed "make integration" 600 $(PYTEST) tests/integration

test: install ## run all of: check tools unit unit-engine integration prove
	@MAKE="$(MAKE)" .ci/steps check tools unit unit-engine integration prove

tools: install ## get what tests need beyond Python: compiler, Java, Kafka, Prometheus, compiled parts, llama.cpp
	@.ci/packages tests
	$(BIN)/calmops setup
	$(BIN)/calmops setup kafka
	$(BIN)/calmops setup prometheus
	$(BIN)/calmops setup bench
	$(BIN)/python -c "from tests.integration.otelcol.collector import build; print(f'collector: ready in {build()}')"

prove: install ## run the short forms of what changed and a share of the rest (at most 30 minutes); all of them: ALL=1
	$(BIN)/python tests/proofs/run.py --short $(if $(ALL),--all)

prove-long: install ## run the long forms; adds to tests/proofs/LOG.md; can be resumed
	$(BIN)/python tests/proofs/run.py --long

bench: install ## measure speed beside other engines; PARTS="engine prefill families memory http telemetry"
	$(BIN)/calmops setup bench || echo "the peers could not be installed, see above: what needs them is left out"
	$(BIN)/python tests/bench/run.py $(PARTS)

gen: install ## write what is generated: platform/deploy/calmops.schema.json, alerts/, dashboards/, golden files
	$(BIN)/calmops config schema > platform/deploy/calmops.schema.json.new
	@mv platform/deploy/calmops.schema.json.new platform/deploy/calmops.schema.json
	$(BIN)/calmops slo generate
	$(BIN)/calmops dashboards generate
	$(BIN)/python -m tests.support.golden_exposition

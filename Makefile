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
TESTS := tests/unit tests/integration
PYTHON_CODE := platform/calmops actors alerts dashboards tests setup.py
export OMP_NUM_THREADS ?= 1

.PHONY: help up down test check prove prove-long bench gen install tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp lies inside the environment and bears the digest of what was asked for: a fresh clone finds it and is quick.
$(STAMP):
	@.ci/packages
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@rm -f $(VENV)/.calmops-*
	@touch $@

install: $(STAMP) ## a virtual environment in VENV, every version pinned, tied to this checkout
	@test "$$(cat $(LINK) 2>/dev/null)" = "$(HERE)" || { \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . 2>/dev/null >/dev/null \
	    || $(BIN)/python -m pip install --no-deps -e . || exit 1; echo "$(HERE)" > $(LINK); }

up: install ## serve the shipped model on this machine (http://127.0.0.1:8000)
	$(BIN)/calmops up

down: install ## stop what `make up` started
	$(BIN)/calmops down

check: install ## ruff and mypy
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/mypy

test: check tools ## check, every test, and the proofs' short forms
	$(BIN)/python -m pytest $(TESTS)
	$(MAKE) prove

tools: install ## what tests need beyond Python: compiler, Java, a real Kafka broker, Prometheus, compiled parts, llama.cpp to compare with
	@.ci/packages tests
	$(BIN)/calmops setup
	$(BIN)/calmops setup kafka
	$(BIN)/calmops setup prometheus
	$(BIN)/calmops setup bench
	$(BIN)/python -c "from tests.integration.otelcol.collector import build; print(f'collector: ready in {build()}')"

prove: install ## the proofs' short forms (25 minutes at most)
	$(BIN)/python tests/proofs/run.py --short

prove-long: install ## the proofs' long forms; appends to tests/proofs/LOG.md; can be resumed
	$(BIN)/python tests/proofs/run.py --long

bench: install ## speed beside other engines; PARTS="engine prefill families memory http telemetry"
	$(BIN)/calmops setup bench || echo "the peers could not be installed (pip says why above): parts that need them are left out"
	$(BIN)/python tests/bench/run.py $(PARTS)

gen: install ## write what is generated: platform/deploy/calmops.schema.json; rules, routes and rule tests under alerts/; dashboards
	$(BIN)/calmops config schema > platform/deploy/calmops.schema.json.new
	@mv platform/deploy/calmops.schema.json.new platform/deploy/calmops.schema.json
	$(BIN)/calmops slo generate
	$(BIN)/calmops dashboards generate

# From a fresh clone, with Python 3.10 to 3.13 and git: `make demo`, `make test`. Everything else is set up by them.
PYTHON ?= python3
VENV := .venv
PETASTORM_VENV := .venv-petastorm
INSTALLED := $(VENV)/.installed
PETASTORM_INSTALLED := $(PETASTORM_VENV)/.installed
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL := 3

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-chaos test-petastorm lint format types lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## search on real data with an embedded Spark, end to end, in minutes
	@$(VENV)/bin/python examples/digits.py

test: $(INSTALLED) ## the tests that every change must pass
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-slow: $(INSTALLED) ## the tests left out of `make test` for their time
	@$(VENV)/bin/python -m pytest -m "slow and not chaos" $(PYTEST_ARGS)

test-chaos: $(INSTALLED) ## the tests that kill, stop and corrupt
	@$(VENV)/bin/python -m pytest -m chaos $(PYTEST_ARGS)

test-petastorm: $(PETASTORM_INSTALLED) ## the tests on the oldest supported versions, beside petastorm itself
	@$(PETASTORM_VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED) ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

format: $(INSTALLED) ## ruff: write the format and the fixes that are safe
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

types: $(INSTALLED) ## mypy, strict, on the package and its tests
	@$(VENV)/bin/mypy cerebro_nas tests

lock: ## resolve pyproject.toml anew into requirements*.txt (LOCK_ARGS=--upgrade for the newest)
	@PYTHON="$(PYTHON)" tools/lock.sh $(LOCK_ARGS)

clean: ## remove the environments and everything that was built
	rm -rf $(VENV) $(PETASTORM_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find cerebro_nas tests examples benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" tools/setup_venv.sh $(VENV) requirements-dev.txt

$(PETASTORM_INSTALLED): requirements-petastorm.txt pyproject.toml
	@PYTHON="$(PYTHON)" tools/setup_venv.sh $(PETASTORM_VENV) requirements-petastorm.txt

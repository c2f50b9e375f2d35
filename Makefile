# Every target sets itself up: a fresh clone needs Python 3.11 or newer, and nothing else.
#   make demo      see it work, in one run without a key, a download or a GPU
#   make test      what must pass: format, lint, types, and the default tests
#   make check     the same with the fast tests only, in under a minute
#   make slow      the tests that take minutes
#   make browser   the tests of the page, in chromium
#   make format    put the code into shape

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14; do command -v $$p && exit; done; echo python3)
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
WORKERS ?= 2

# Two threads under contention are 25 times slower than one.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: help install demo lint check test slow browser format clean

help:
	@sed -n 's/^#   make/make/p' Makefile

# torch first and alone: the version that has a CPU build where one is offered, before anything else asks for a newer one.
$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "scrutable needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "scrutable needs Python 3.11 or newer; $(PYTHON) is older: set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up $(VENV) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install "torch==2.13.0"
	@$(PIP) install -e ".[dev]"
	@touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/scrutable demo

lint: $(STAMP)
	@$(BIN)/ruff format --check --quiet . >/dev/null || { echo "not in shape: run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

check: lint
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not medium and not browser"

test: lint
	@$(BIN)/python -m pytest -n $(WORKERS)

slow: $(STAMP)
	@$(BIN)/python -m pytest -m slow --timeout 3600

browser: $(STAMP)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
	@$(BIN)/python -m pytest -m browser

format: $(STAMP)
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `make demo` and `make test` do all their own set-up; they need python3 (3.11 or newer) and make, no root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint type unit bench clean

help:  ## say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16

$(READY): pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/setup
	@touch $(READY)

demo: $(READY)  ## the main job end to end, on an embedded hub
	@$(BIN)/reconciler demo

test: $(READY) lint type unit  ## everything that must hold: lint, types, tests

lint: $(READY)  ## ruff, rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: $(READY)  ## mypy, strict
	@$(BIN)/mypy

unit: $(READY)  ## all tests
	@$(BIN)/python -m pytest -n auto

bench: $(READY)  ## the promises about speed, as ratios within one run
	@$(BIN)/python -m bench

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

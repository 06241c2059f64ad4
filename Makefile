# Two commands: `make demo` and `make test`. Each sets up what it needs on a fresh machine (Python >= 3.10) and runs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INPUT ?=

.PHONY: demo test lint types clean

demo: $(VENV)/.ready-demo
	$(BIN)/python -m apps.demo $(if $(INPUT),--input "$(INPUT)")

test: $(VENV)/.ready-test lint types
	$(BIN)/python -m pytest

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-test
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# One stamp for each set of extras; a change of the dependencies installs again.
$(VENV)/.ready-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[$*]"
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "streamdiff needs Python 3.10 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) demo-output

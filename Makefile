# `make demo`: the page with your camera. `make demo-file`: no camera and no browser. `make test`. Each sets up what it
# needs on a fresh machine (Python >= 3.10) and runs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INPUT ?=

.PHONY: demo demo-file test browser lint types clean

demo: $(VENV)/.ready-demo
	$(BIN)/streamdiff serve --open

demo-file: $(VENV)/.ready-demo
	$(BIN)/python -m apps.demo $(if $(INPUT),--input "$(INPUT)")

test: $(VENV)/.ready-test lint types browser
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The browser tests want a Chromium, those of the window and the screen Xvfb; what is missing and cannot be installed
# has its tests skipped, and says so.
browser:
	@chromium=; for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && chromium=$$name; done; \
		missing="$$([ -n "$$chromium" ] || echo chromium) $$(command -v Xvfb >/dev/null || echo xvfb)"; \
		[ "$$missing" = " " ] && exit 0; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null && exit 0; \
		fi; \
		echo "missing, and cannot be installed here: $$missing; tests that need it will be skipped" >&2

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

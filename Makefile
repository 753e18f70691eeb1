# Everything runs in one virtual environment, .venv; the locks say exactly what is in it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NICE   ?= nice -n 5

.PHONY: help serve test lint bench soak fuzz docs site detector-report walkthrough lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

serve: $(VENV)/.runtime ## run the service on embedded SQLite with a demo manufacturer
	$(BIN)/gatewright serve --demo

test: $(VENV)/.dev ## install what is missing and run every test
	$(BIN)/python tools/test_servers.py
	mkdir -p reports
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-report=json:reports/coverage.json $(ARGS)
	$(BIN)/python tools/coverage_floor.py reports/coverage.json

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter, module sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/module_sizes.py

bench: $(VENV)/.dev ## measure against the peers, side by side, into reports/
	mkdir -p reports
	$(NICE) $(BIN)/python -m bench

soak: $(VENV)/.dev ## the long versions of the race and kill tests, into reports/
	mkdir -p reports
	$(NICE) $(BIN)/python -m bench.soak

fuzz: $(VENV)/.dev ## ten minutes of fuzzing, into reports/
	mkdir -p reports
	$(NICE) $(BIN)/python -m tests.fuzz.fuzz_inspect --seconds 600

docs: $(VENV)/.dev ## renew the reference pages and run every example of the docs
	$(BIN)/python -m tests.docs.reference
	$(BIN)/pytest tests/docs

site: $(VENV)/.dev ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

detector-report: $(VENV)/.dev ## leave-source-out figures of the detector, into docs/detector-report.md
	$(NICE) $(BIN)/python -m bench.detector_report

walkthrough: $(VENV)/.runtime ## the whole story over HTTP, against a server that runs
	$(BIN)/python examples/walkthrough.py

lock: $(VENV)/.dev ## renew the lock files from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --group docs --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet -o requirements-dev.lock

clean: ## remove the virtual environment and everything that was made
	rm -rf $(VENV) reports site gatewright-data build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian keeps venv's bootstrap in a package of its own; as root it is installed, otherwise it is named.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gatewright needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } || { echo "Install the package python3-venv (apt-get install python3-venv) and run make again."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The locks are whole: without --no-deps pip looks for the extras of what they pin (coverage[toml]) among newer
# releases, and refuses those for want of a hash as soon as there is one.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'from gatewright.threats.engine import DetectionEngine; DetectionEngine.load()' # compile the rules now
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml training/pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e . -e ./training
	@touch $@ $(VENV)/.runtime

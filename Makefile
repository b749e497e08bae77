# Two commands do everything: `make demo`, `make test`. Both make .venv from requirements.lock first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR ?= home
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo test quick ui bench lint clean lock

$(VENV)/.ready: requirements.lock setup.cfg pyproject.toml
	@echo "== preparing $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements.lock)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/python -m fixtures demo --home $(HOME_DIR)

ui: $(VENV)/.ready
	@$(BIN)/python -m fixtures ui --home $(HOME_DIR)

lint: $(VENV)/.ready
	@$(BIN)/ruff check subsidy dags fixtures tests benchmarks
	@$(BIN)/mypy

test: lint
	@$(BIN)/python -m pytest tests -m "not airflow and not browser" -n 2 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python -m pytest tests -m "airflow or browser"

quick: $(VENV)/.ready
	@$(BIN)/ruff check subsidy
	@$(BIN)/python -m pytest tests -m "not slow and not airflow and not browser" -n 2

bench: $(VENV)/.ready
	@$(BIN)/python -m benchmarks

lock:
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes requirements.in -o requirements.lock

clean:
	rm -rf $(VENV) $(HOME_DIR)

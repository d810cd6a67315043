# Two commands on a fresh machine: make demo, make test. Both set up .venv first.
PYTHON ?= python3.11
BIN := .venv/bin
# A process for each core, and no more than memory serves: each holds torch.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.PHONY: setup demo test test-fast check lock clean

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/spadework demo

test: setup
	$(PYTEST) --durations 10

# Under a minute on a quiet machine: no Ray, and no test that takes seconds.
test-fast: setup
	$(PYTEST) -m "not slow and not ray"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Pins everything; names no index, so that any mirror serves.
lock:
	echo 'torch==2.14.*' | $(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url \
	    --python-version 3.11 --extra dev --constraint - pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

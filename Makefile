# Two commands on a fresh machine: make demo, make test. Both set up .venv first.
PYTHON ?= $(or $(firstword $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version)))),python3)
BIN := .venv/bin
# A process for each core, and no more than memory serves: each holds torch.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# Where it is set, as in many images, each of hundreds of processes would compile torch's sources again: seconds a start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-fast test-browser test-cluster check lock clean

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

# The painter in Debian's Chromium, as a person uses it; `make test` leaves these tests out.
test-browser: setup
	@command -v chromium >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else echo "the browser tests need Chromium: apt-get install chromium" >&2; exit 1; fi
	$(BIN)/python -m pytest tests/browser --durations 5

# Two hosts in network namespaces, of which one is lost; says why where there can be none. Some minutes, as root.
test-cluster: setup
	timeout 1200 $(BIN)/python -m tests.cluster.two_hosts

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

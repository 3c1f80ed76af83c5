# Everything a developer runs. `make help` lists it.

PYTHON ?= python3
CONFIG ?= configs/quickstart.yml
ARGS ?=
BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all test-processors test-trlx check format bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

# torch goes first and by itself: it is the large one, and pip then takes whatever build of it is already chosen.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Setting up .venv: torch, Ray, MLflow and the rest. This takes a minute or two, and happens once."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/.ready ## Make .venv with everything in it

train: setup ## Train on CONFIG (configs/quickstart.yml); ARGS is passed on, as in ARGS="train.total_steps=2"
	@$(BIN)/terraprompt train --config $(CONFIG) $(ARGS)

test: check ## Check the code and run the fast tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-all: test ## Check the code and run all tests; the slow ones have the machine for themselves
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-processors: setup ## Run the tests of arithmetic as other processors would; ARGS=--short for the lowest alone
	@$(BIN)/python -m tests.processors $(ARGS)

test-trlx: setup ## Train with trlx itself, as its adapter's tests do; TRLX_SRC is a clone of CarperAI/trlx at 3340c2f
	@test -d "$(TRLX_SRC)/trlx" || { echo "test-trlx needs TRLX_SRC=DIR, a clone of trlx:" \
	    "git clone https://github.com/CarperAI/trlx && git -C trlx checkout 3340c2f" >&2; exit 1; }
	@PYTHONPATH=$(CURDIR):$(TRLX_SRC) $(BIN)/python -m pytest -rs tests/softprompt/trlx tests/distributed/jobs/test_trlx.py $(ARGS)

check: setup ## Lint, formatting, types, the order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## Run the benchmarks
	@for file in benchmarks/bench_*.py; do echo "$$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

clean: ## Remove .venv and caches; runs and their records stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

PYTHON ?= python3
PIP = .venv/bin/pip --disable-pip-version-check

.PHONY: train test test-all check bench clean help

train: .venv/.ready  ## set up, then train the quickstart on the bundled model
	.venv/bin/terraprompt train --config configs/quickstart.yml $(ARGS)

test: check  ## set up, check style and types, then run the fast tests
	.venv/bin/python -m pytest -m "not slow" $(ARGS)

test-all: check  ## the same with the slow tests
	.venv/bin/python -m pytest $(ARGS)

check: .venv/.ready  ## lint, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy distributed softprompt terrains

clean:  ## remove the environment and everything that can be made again
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/:\t/'

# PyTorch goes in first and by pip, so that pip takes the pinned CPU build and nothing later replaces it.
.venv/.ready: pyproject.toml constraints.txt
	@echo "setting up .venv (a minute or two)"
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet torch==2.13.0
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

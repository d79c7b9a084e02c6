# Every target works as the first command in a fresh clone: only make and Python >= 3.11 have to be there.
# `make test T="tests/shadow -x"` passes arguments to pytest; `make demo PYTHON=/path/to/python` names the interpreter.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# one virtual environment: two installs at once would meet in it
.NOTPARALLEL:
.PHONY: help demo test check bench jaeger docs clean

VENV ?= .venv
PY := $(VENV)/bin/python
T ?=
SOURCES_OF_INSTALL := pyproject.toml hatch_build.py scripts/make_venv.sh

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.ready-demo ## four services, faults on purpose, with handrail and without
	@$(PY) -m examples.order_service.demo $(T)

test: $(VENV)/.ready-test ## the whole test suite (T="..." goes to pytest)
	@$(PY) -m pytest -q -n auto --dist loadgroup $(T)

check: $(VENV)/.ready-dev ## format, lint, types, who may import whom
	@sh scripts/check.sh $(VENV)/bin

bench: $(VENV)/.ready-test ## cost per request and per call against named peers (T="..." goes to the bench)
	@$(PY) -m bench $(T)

jaeger: $(VENV)/.ready-demo ## find or build a real Jaeger binary for the tests
	@$(PY) scripts/install_jaeger.py $(T)

docs: $(VENV)/.ready-test ## run every code block of README.md and docs/
	@$(PY) -m pytest -q tests/docs $(T)

clean: ## remove the virtual environment and what builds and tests leave
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage*

# One stamp per set of dependencies; a changed pyproject.toml installs again.
$(VENV)/.ready-%: $(SOURCES_OF_INSTALL)
	@PYTHON="$(PYTHON)" sh scripts/make_venv.sh "$(VENV)" $*

# Two commands do everything on a fresh machine that has Python 3.11 or newer and pip's usual registries:
#
#     make demo      plan, prove, train and sample a language model on this machine (minutes)
#     make test      check the style, the floors, the types, then run every test
#
# Both build .venv first, once; after that only a changed pyproject.toml installs anything again.

SHELL := /bin/sh
VENV  := .venv
PIP    = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
TORCH := $(shell sed -n 's/^ *"\(torch[^"]*\)".*/\1/p' pyproject.toml)

# Tried in this order; `make test PYTHON=/path/to/python3.12` names one.
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.14

.PHONY: help demo test lint format clean
.NOTPARALLEL:

help:
	@sed -n 's/^#     \(make .*\)/\1/p' Makefile
	@echo "make lint      the style, the floors and the types alone"
	@echo "make format    let ruff write the style"
	@echo "make clean     remove what make made, .venv too; your runs/ stay"

demo: $(VENV)/.demo-ready
	@rm -rf runs/demo
	@$(VENV)/bin/plait demo examples/demo.toml --out runs/demo

test: lint
	@printf '\n== pytest\n'
	@$(VENV)/bin/python -m tests.halves

# Every check speaks before the first failure counts.
lint: $(VENV)/.test-ready
	@failed=; \
	check() { printf '\n== %s\n' "$$*"; $(VENV)/bin/"$$@" || failed="$$failed $$1"; }; \
	check ruff check; \
	check ruff format --check; \
	check lint-imports --no-logo; \
	check pyright; \
	test -z "$$failed" || { printf '\nnot clean:%s\n' "$$failed" >&2; exit 1; }

format: $(VENV)/.test-ready
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. Each stamp is written last, so that a failed install leaves none and the next call tries again.

# torch comes first and alone, so that a machine which holds a CPU build takes that one.
$(VENV)/.torch-ready: pyproject.toml
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "Plait needs Python 3.11 or newer; tried $(PYTHON)." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1
	@echo "installing $(TORCH) into $(VENV) (once; it is large)"
	@$(PIP) '$(TORCH)'
	@touch $@

$(VENV)/.demo-ready: $(VENV)/.torch-ready
	@echo "installing plait into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test-ready: $(VENV)/.torch-ready
	@echo "installing plait and its test tools into $(VENV)"
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.demo-ready $@

# Two commands matter to a newcomer: make run, make test.
SHELL := /bin/bash
PYTHON ?=
PY := .venv/bin/python
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup tools run test check proof bench lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## .venv from the lock; quick when nothing changed
	@scripts/setup.sh

tools: ## the Debian programs that the tests run (installed when root under CI=true)
	@scripts/tools.sh

run: setup ## set up and start everything on the sample; Ctrl-C stops it all
	@$(PY) -m demo run || [ $$? = 130 ]

check: setup ## lint, format, types, import rules
	@echo "check: ruff"; $(PY) -m ruff check . && $(PY) -m ruff format --check .
	@echo "check: mypy (strict)"; $(PY) -m mypy
	@echo "check: import rules"; .venv/bin/lint-imports --no-cache

test: setup tools check ## set up and run the suite
	@echo "test: unit, property, integration, end to end"; $(PY) -m pytest -m "not proof" -n 3 --dist loadfile

proof: setup tools ## the long proofs
	@echo "proof: long proofs"; $(PY) -m pytest -m proof

bench: setup tools ## all benchmarks, one after the other
	@found=0; for b in benchmarks/[a-z]*.py; do [ -e "$$b" ] || continue; found=1; echo "bench: $$b"; $(PY) "$$b" || exit 1; done; \
	[ $$found = 1 ] || echo "bench: no benchmark yet; they come with the parts they measure (CHANGELOG.md)"

lock: setup ## renew requirements.txt from pyproject.toml
	@.venv/bin/uv pip compile --universal --no-header --generate-hashes --quiet --upgrade --group dev pyproject.toml -o requirements.txt

clean: ## remove the environment and everything a run wrote
	rm -rf .venv var

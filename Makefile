# Two commands on a fresh machine: `make demo` and `make test`. Only python3 (with venv) and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most tests wait for processes and sockets rather than compute.
TEST_WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: help demo test lint bench docs deb clean

help:
	@echo "make demo         a server and an agent on free loopback ports; readings arrive (ONCE=1: ends by itself)"
	@echo "make test         the whole test suite"
	@echo "make lint         ruff, mypy, layers"
	@echo "make bench        how fast it is on this machine"
	@echo "make docs         HTML and man pages, in docs/_build"
	@echo "make deb          a Debian package of the agent"

demo: $(VENV)/installed-demo
	@$(BIN)/python -m monagent.cli.demo $(if $(ONCE),--once)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b man docs docs/_build/man

deb: docs
	packaging/deb/build .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server]'
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,test,lint]'
	@touch $@ $(VENV)/installed-demo

$(VENV)/installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server,docs]'
	@touch $@

clean:
	rm -rf docs/_build $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

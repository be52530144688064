# Everything a fresh machine needs: `make demo` (install and run the main job), `make test`, `make check`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-browser check clean

demo: .venv/installed
	$(BIN)/rnn train parity
	$(BIN)/rnn train poetry-lm --corpus hillside
	$(BIN)/rnn generate poetry --lines 8

test: .venv/developing
	$(BIN)/pytest

test-browser: .venv/developing
	$(BIN)/pytest -m browser tests/browser

check: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 . # a text file is opened with its encoding
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/developing: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info

# Everything a fresh machine needs: `make demo` (install and run the main job), `make test`, `make check`, `make companion`.
PYTHON ?= python3
BIN := .venv/bin
# Without --no-compile, pip compiles a hundred packages' modules, most of which nothing imports.
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt

CHECKS := tests/test_circles.py tests/test_plain_english.py

.PHONY: demo companion types notebooks docs test test-all test-slow test-browser test-without-numba test-avx2 \
	test-package check clean

demo: .venv/installed
	$(BIN)/rnn train parity
	$(BIN)/rnn train poetry-lm --corpus hillside
	$(BIN)/rnn generate poetry --lines 8

companion: .venv/developing
	$(BIN)/python benchmarks/companion.py

test: .venv/developing
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(CHECKS:%=--ignore %)

test-all: test test-slow

test-slow: .venv/developing
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "slow and not browser"

types: .venv/developing
	PYTHONPATH=. $(BIN)/python tests/support/option_types.py

notebooks: .venv/developing
	PYTHONPATH=. $(BIN)/python tests/support/notebooks.py docs/notebooks/*.ipynb

test-browser: .venv/developing
	$(BIN)/pytest -m browser tests/browser

test-without-numba: .venv/developing
	OMP_NUM_THREADS=1 RNN_HIDE=numba $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not no_backend and not slow" \
		tests/cells tests/nn tests/models/test_stack.py tests/models/test_language_model.py \
		tests/training/test_loop.py tests/training/test_precision.py tests/cli/test_verbs.py tests/cli/test_bench.py \
		tests/kernels/engine/test_torch_table.py

test-avx2: .venv/developing
	OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/pytest --numprocesses 2 tests/kernels \
		--ignore tests/kernels/test_triton.py

test-package: .venv/developing
	$(BIN)/pip check
	$(BIN)/pytest -m "slow or not slow" tests/test_package.py

check: .venv/developing
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 . # a text file is opened with its encoding
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 2 $(CHECKS)

docs: .venv/documenting
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/site
	@echo build/site/index.html

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

.venv/developing: .venv/installed
	$(INSTALL) --editable '.[dev]'
	touch $@

.venv/documenting: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv build *.egg-info

# make demo   set everything up, segment the shipped sample scenes, leave a picture in out/demo
# make test   set everything up, run the test suite, all but the slow tests
# make test-slow   the slow tests alone
# make lint   ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch on CPU can spend most of its time handing memory back to the system; with this allocator it does not. The tests'
# models are tiny: one thread is faster than two that wait for each other.
TCMALLOC := $(wildcard /usr/lib/*/libtcmalloc_minimal.so.4)

.PHONY: demo test test-slow lint clean
demo: $(VENV)/.run
	$(BIN)/python examples/demo.py out/demo

test: $(VENV)/.dev
	LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.dev
	LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[sam3]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) out

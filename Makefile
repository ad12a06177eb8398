# make demo   set everything up, segment the shipped sample scenes, leave a picture in out/demo
# make test   set everything up, run the test suite, all but the slow tests
# make test-slow   the slow tests alone
# make test-oldest   the base install on the lower bounds of pyproject.toml; with EXTRAS=all, the fast tests of everything
# make browser   the page that segments in a browser by itself, in out/browser (needs npm)
# make lint   ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch on CPU can spend most of its time handing memory back to the system; with this allocator it does not. The tests'
# models are tiny: one thread is faster than two that wait for each other, and as many processes as cores (at most 4).
TCMALLOC := $(wildcard /usr/lib/*/libtcmalloc_minimal.so.4)

# A Python for the lower bounds: a version that uv finds, or a path.
OLDEST_PYTHON ?= 3.10
OLDEST := .venv-oldest
OLDEST_BASE := $(addprefix tests/,install/test_base.py test_hub.py test_hub_names.py test_tokenizer.py test_architecture.py)
PARALLEL := -n auto --maxprocesses 4
OLDEST_TESTS := $(if $(EXTRAS),-m "not slow" tests,$(OLDEST_BASE))

.PHONY: demo browser test test-slow test-oldest lint clean
demo: $(VENV)/.run
	$(BIN)/python examples/demo.py out/demo

browser: $(VENV)/.run
	$(BIN)/python tools/build_browser.py out/browser

test: $(VENV)/.dev
	LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --dist loadfile -m "not slow" $(PYTEST_ARGS)

# Tests marked `compiles` have a process of their own: torch trains in no fork of one that has compiled, and kills fork.
test-slow: $(VENV)/.dev
	LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --dist worksteal \
		-m "slow and not compiles" $(PYTEST_ARGS)
	LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and compiles" $(PYTEST_ARGS)

test-oldest: $(VENV)/.dev
	$(BIN)/python -m tests.install.exports out/oldest
	$(BIN)/uv venv --quiet --clear --python $(OLDEST_PYTHON) $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct \
		--editable '.$(if $(EXTRAS),[$(EXTRAS)])' 'pytest>=9' 'hypothesis>=6.150' $(if $(EXTRAS),'scikit-dimension>=0.3.4')
	LITETEXT_TEST_EXPORTS=out/oldest LD_PRELOAD=$(TCMALLOC) OMP_NUM_THREADS=1 \
		$(OLDEST)/bin/python -m pytest -p no:cacheprovider $(OLDEST_TESTS) $(PYTEST_ARGS)

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
	rm -rf $(VENV) $(OLDEST) out

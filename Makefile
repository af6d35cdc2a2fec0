PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
RUN ?= reference

.PHONY: setup demo test test-slow reference reference-ablations rehearse figures bench base-models lint
setup: $(READY)
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed: make PYTHON=python3.11')"
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -r requirements.lock && $(PY) -m pip install -q --no-deps --no-build-isolation -e . && touch $@
demo: setup
	$(PY) -m rnagpt_lib demo
test: setup
	$(PY) -m pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow"
test-slow: setup
	$(PY) -m pytest -q -n logical --maxprocesses 2 --dist loadfile --no-loadscope-reorder -m slow
reference: setup
	$(PY) -m rnagpt_lib demo --profile reference
reference-ablations: setup
	$(PY) -m rnagpt_lib train-variants --run reference
	$(PY) -m benchmarks leakage
	$(PY) -m rnagpt_lib run 06 --profile reference
rehearse: setup
	$(PY) -m tests.support.rehearsal
figures: setup
	$(PY) -m rnagpt_lib figures --run $(RUN)
bench: setup
	$(PY) -m benchmarks
base-models: setup
	$(PY) -m models.build
lint: setup
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

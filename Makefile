# `make train` and `make test` do everything on a fresh machine with Python 3.11 or newer: environment, data, the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RECIPE ?= mnist-2d
# Two files at a time, in their order: those that take long are among the first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

PLUGINS := $(wildcard plugins/*/pyproject.toml)

.PHONY: train test test-mlflow test-quick test-all test-cluster test-faults check-components lint docs package horovod clean

train: $(VENV)/installed
	$(BIN)/vaeflow train $(RECIPE) $(SETTINGS)

# All that is promised. tests/README.md says what each tier needs and takes.
test: prepared
	$(MAKE) --jobs 2 --output-sync lint test-mlflow
	$(PYTEST) plugins/vaeflow-flows
	$(PYTEST) -m "not distributed" $(MORE)
	$(PYTEST) -m distributed $(MORE)

# One process, beside the type checkers'. Its tests fix TensorFlow's threads, so that they take no others beside them.
test-mlflow: $(VENV)/installed-dev
	$(BIN)/python -m pytest plugins/vaeflow-mlflow

# What needs seconds: no job, no long run.
test-quick: $(VENV)/installed-dev
	$(BIN)/vaeflow data fetch mnist
	$(PYTEST) tests/unit vaeflow --quick

# Repetitions as well: more seeds, more ranks, the contract of every kind.
test-all: MORE = --all
test-all: test

.PHONY: prepared
prepared: $(VENV)/installed-dev
	$(BIN)/vaeflow data fetch mnist
	$(BIN)/vaeflow horovod install --if-possible

horovod: $(VENV)/installed
	$(BIN)/vaeflow horovod install

# A real SLURM, and hosts that ssh joins. It takes root and Debian's packages:
# apt-get install --no-install-recommends slurm-wlm munge openssh-server iproute2
test-cluster: $(VENV)/installed-dev
	$(BIN)/vaeflow data fetch mnist
	$(BIN)/vaeflow horovod install
	$(BIN)/python -m pytest tests/cluster --cluster

# Real processes: a hundred killed at random moments, which takes about an hour; 300 killed at single changes of the disk;
# 2,000 damaged run directories: docs/faults.md says what one of each costs. Ranks that differ in each key of the config: minutes.
test-faults: prepared
	VAEFLOW_KILLS=100 $(BIN)/python -m pytest tests/integration/test_faults.py
	VAEFLOW_AIMED_KILLS=300 $(BIN)/python -m pytest -n 2 tests/integration/test_aimed_kills.py
	VAEFLOW_DAMAGES=2000 $(BIN)/python -m pytest -n 2 tests/integration/test_damaged_runs.py
	$(BIN)/python -m pytest tests/integration/test_agreement.py --all

# Every rule on every component, built in and of plugins/; it writes docs/checked.md. It takes about half an hour.
check-components: $(VENV)/installed-dev
	$(BIN)/python docs/checked.py
	$(BIN)/python -m pytest tests/integration/test_scaffold.py -k contract --all

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy plugins/vaeflow-flows/vaeflow_flows
	$(BIN)/mypy plugins/vaeflow-disentangle/vaeflow_disentangle
	$(BIN)/mypy --config-file plugins/vaeflow-mlflow/pyproject.toml

docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build

package: $(VENV)/installed-dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist docs/_build docs/generated

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(PLUGINS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]" $(addprefix --editable ./,$(patsubst %/,%,$(dir $(PLUGINS))))
	touch $@ $(VENV)/installed

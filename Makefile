# `make train` and `make test` do everything on a fresh machine with Python 3.11 or newer: environment, data, the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python compiles what it imports; to compile all that is installed takes longer.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
# What builds the packages here, once, not in an environment of its own for each of them.
BACKEND := "hatchling>=1.26" editables
RECIPE ?= mnist-2d
# Two files at a time, in their order: those that take long are among the first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

PLUGINS := $(wildcard plugins/*/pyproject.toml)
PACKAGES := $(patsubst %/pyproject.toml,%,$(PLUGINS))
# Their tests set TensorFlow's threads or devices, which a process does once.
APART := plugins/vaeflow-mlflow plugins/vaeflow-hierarchical

# Bytecode is written even where the environment says otherwise: without it an import of TensorFlow takes three times as long.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: train test test-quick test-all test-cluster test-kubernetes test-extras test-gpu test-faults check-components lint docs package horovod clean

train: $(VENV)/installed
	$(BIN)/vaeflow train $(RECIPE) $(SETTINGS)

# All that is promised. tests/README.md says what each tier needs and takes.
test: prepared
	$(MAKE) --jobs 2 --output-sync lint $(APART:%=test-%) MORE="$(MORE)"
	$(PYTEST) $(filter-out $(APART),$(PACKAGES)) tests vaeflow $(MORE)

# One process each, beside the type checkers'.
.PHONY: $(APART:%=test-%)
$(APART:%=test-%): test-%: $(VENV)/installed-dev
	$(BIN)/python -m pytest $* $(MORE)

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
	$(BIN)/python -m pytest tests/cluster tests/integration/test_kubernetes_image.py --cluster

# The manifests against the schemas that Kubeflow's operators publish, which are downloaded.
KUBEFLOW := https://raw.githubusercontent.com/kubeflow
test-kubernetes: $(VENV)/installed-dev
	$(INSTALL) --editable ".[kubernetes]"
	mkdir -p build/crds
	curl --fail --location --output build/crds/mpijobs.yaml $(KUBEFLOW)/mpi-operator/v0.8.0/manifests/base/kubeflow.org_mpijobs.yaml
	curl --fail --location --output build/crds/tfjobs.yaml $(KUBEFLOW)/training-operator/v1.9.0/manifests/base/crds/kubeflow.org_tfjobs.yaml
	VAEFLOW_CRDS=build/crds $(BIN)/python -m pytest tests/integration/test_kubernetes.py

# Exports to ONNX and searches by Optuna, whose packages no other test needs.
test-extras: prepared
	$(INSTALL) --editable ".[onnx,optuna]"
	$(BIN)/python -m pytest tests/integration/test_onnx.py tests/integration/test_optuna.py

# One GPU, at most eight minutes; writes a report into $OUT or gpu-report. Without a GPU it says so.
test-gpu: $(VENV)/installed-dev
	$(BIN)/python benchmarks/gpu_report.py

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
	$(BIN)/mypy vaeflow $(wildcard plugins/*/vaeflow_*)

docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build

package: $(VENV)/installed-dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist docs/_build docs/generated

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(PLUGINS) | $(VENV)/bin/python
	$(INSTALL) $(BACKEND)
	$(INSTALL) --no-build-isolation --editable ".[dev]" $(PACKAGES:%=--editable ./%)
	touch $@ $(VENV)/installed

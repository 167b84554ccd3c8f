"""Each model on each topology, and killed with SIGKILL and resumed on another one: the same bits. Repetitions alone."""

from __future__ import annotations

import json
import signal
import sys

import pytest

jobs = pytest.importorskip("helpers.jobs", reason="needs tests/helpers of the repository of vaeflow")

LEVELS = "model.levels=[{latent_size=3,hidden=[8]},{latent_size=2,hidden=[5]}]"
MODELS = {
    "stochastic-layers": ("burda-2", LEVELS, "model.normalization=none"),
    "ladder": ("ladder-mnist", LEVELS),
    "residual-hierarchy": ("residual-mnist", "model.groups=[1,2]", "model.channels=2", "model.width=6"),
}
SETTINGS = (
    *("dataset=digits", "dataset.train_examples=41", "dataset.test_examples=33", "batch_size=24", "microbatches=6"),
    *("steps=30", "log.tensorboard=false", "plots.draw=[]", "checkpoint.every_steps=10"),
)
ELSEWHERE = {"stochastic-layers": ("horovod", 3), "ladder": ("horovod", 2), "residual-hierarchy": ("mirrored", 3)}
KILL = """
import os, signal, time
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback

class Kill(Callback):
    def on_steps(self, run, step):
        saved = run.directory / "checkpoints" / "step-000000010"
        if step < 20 or run.first_step >= 10:
            return
        while not saved.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

def kill():
    return Kill()

@hookimpl
def vaeflow_components():
    yield Component("callback", "kill", kill)
"""

pytestmark = [pytest.mark.repetition, pytest.mark.distributed]


def state_of(run):
    return json.loads((run / "summary.json").read_text())["state_sha256"]


def train(kind, count, model, run, *settings):
    arguments = ["train", *MODELS[model], *SETTINGS, *settings, "--plugin=vaeflow_hierarchical", f"--run-dir={run}"]
    return jobs.job(kind, count, *arguments)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The state of each model's run on one device, by its name."""
    folder, found = tmp_path_factory.mktemp("alone"), {}
    for model in MODELS:
        finished = train("single", 1, model, folder / model)
        assert set(finished.codes) == {0}, finished.outputs
        found[model] = state_of(folder / model)
    return found


@pytest.mark.parametrize(("kind", "count"), jobs.TOPOLOGIES)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_on_any_topology(model, kind, count, alone, tmp_path):
    finished = train(kind, count, model, tmp_path / "run")
    assert set(finished.codes) == {0}, finished.outputs
    assert state_of(tmp_path / "run") == alone[model]
    sys.stdout.write(f"| `{model}` | {kind} x{count} | `{alone[model]}` |\n")  # of the README, by pytest -s


@pytest.mark.parametrize("model", MODELS)
def test_killed_and_resumed_on_another_strategy(model, alone, tmp_path):
    run, plugin = tmp_path / "run", tmp_path / "vaeflow_kill.py"
    plugin.write_text(KILL)
    finished = train("single", 1, model, run, "callbacks=['kill']", f"--plugin={plugin}")
    assert set(finished.codes) <= {-signal.SIGKILL, 128 + signal.SIGKILL}, finished.outputs
    assert not (run / "summary.json").exists()
    newest = max(path.name for path in (run / "checkpoints").glob("step-*"))
    assert newest in ("step-000000010", "step-000000020")
    kind, count = ELSEWHERE[model]
    finished = jobs.job(kind, count, "resume", run, "--plugin=vaeflow_hierarchical", f"--plugin={plugin}")
    assert set(finished.codes) == {0}, finished.outputs
    assert state_of(run) == alone[model]
    sys.stdout.write(f"| `{model}` | single, killed, then {kind} x{count} | `{alone[model]}` |\n")

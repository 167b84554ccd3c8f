"""A search by Optuna: it is a function of its seed, also if it was killed. `make test-extras` installs Optuna."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time

import pytest
from helpers.small_runs import command_line, on, vaeflow, write_digits

from vaeflow.commands.sweep import Sweep

optuna = pytest.importorskip("optuna", reason="optuna is not installed: make test-extras")

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

RANGES = ("a=1e-3..1.0:log", "b=2..50", "c=x,y", "fixed=1")


def value_of(settings):
    """A function whose largest value is 0, at a = 0.1, b = 20, c = y."""
    given = dict(one.split("=") for one in settings)
    return -((math.log10(float(given["a"])) + 1) ** 2) - ((int(given["b"]) - 20) / 20) ** 2 - (given["c"] != "y")


def search(folder, *, trials, again, seed=0, fails=()):
    """Search without training; `again` starts it anew before each trial, half of them while they run."""
    from vaeflow.commands.search import Search

    def new():
        sweep = Sweep("recipe", RANGES, folder)
        return Search(sweep, trials=trials, metric="validation/elbo", minimize=False, seed=seed)

    queue = new()
    while (point := queue.take()) is not None:
        if again:
            queue = new()
            assert queue.take() == point  # interrupted, and resumed with the same settings
        point.run_dir.mkdir()
        summary = {"metrics": {"validation/elbo": value_of(point.settings)}}
        (point.run_dir / "summary.json").write_text(json.dumps(summary))
        queue.ended(point, failed=int(point.run_dir.name[-4:]) in fails)
        if again:
            queue = new()
    return queue.result()


@pytest.mark.slow
def test_an_interrupted_search_proposes_the_same(tmp_path):
    """30 trials: the first 10 are random, the others depend on the values before them."""
    whole = search(tmp_path / "whole", trials=30, again=False, fails=(3,))
    assert search(tmp_path / "parts", trials=30, again=True, fails=(3,)) == whole
    values = [one["value"] for one in whole["trials"]]
    assert values[3] is None
    assert whole["best"] == values.index(max(value for value in values if value is not None))
    assert values[whole["best"]] > -0.15
    other = search(tmp_path / "other", trials=3, again=False, seed=1)
    assert other["trials"] != whole["trials"][:3]
    assert search(tmp_path / "other", trials=5, again=False, seed=1)["trials"][:3] == other["trials"]


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path, mnist_content):
    """Killed with its run in the second of three trials; the same command gives the trials of one that was not."""
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=64, test=8)
    often = ("evaluate.every_epochs=1000", "log.every_steps=500", "checkpoint.every_steps=100")
    settings = on(data, "dataset.validation=16", "batch_size=16", "microbatches=4", "steps=600", *often)
    command = ["sweep", "mnist-2d", *settings, "learning_rate=1e-4..1e-2:log", "latent_size=2..5"]
    command += ["--search", "optuna", "--trials", "3", "--jobs", "1", "--out"]
    whole = vaeflow(*command, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.splitlines()[-1].startswith("best of 3: trial-000")
    out = tmp_path / "out"
    with subprocess.Popen(
        command_line(*command, out, plain=True), start_new_session=True, stderr=subprocess.DEVNULL
    ) as process:
        while not list(out.glob("trial-0001/checkpoints/step-0000002*")):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (out / "trial-0001" / "summary.json").exists()
    done = vaeflow(*command, out)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in (out / "trial-0001.log").read_text()
    assert (out / "search.json").read_text() == (tmp_path / "whole" / "search.json").read_text()

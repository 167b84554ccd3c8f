"""A run that was killed and resumed is, bit for bit, the run that nobody disturbed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.fork_server import worker_of
from helpers.small_runs import command_line, on, rows, summary, train, tree, vaeflow, write_digits
from helpers.tiers import repeated

from vaeflow.cli import main

# Checkpoints of 10 MB at steps that divide no epoch; every part of the training state is in use.
LARGE = (
    "batch_size=64",
    "epochs=4",
    "encoder.hidden=[512]",
    "decoder.hidden=[512]",
    "optimizer=adam",
    "learning_rate.name=cosine-decay",
    "learning_rate.initial_learning_rate=1e-3",
    "ema=0.9",
    "clip_norm=50.0",
    "kl_schedule=cyclical",
    "kl_schedule.epochs=1.5",
    "binarization=dynamic",
    "checkpoint.every_steps=3",
)
EPOCH = 16


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    """Digits for 16 steps an epoch, the last one short."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=1000)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = vaeflow("train", "mnist-2d", "--run-dir", run, *on(digits, *LARGE))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 7
    return run


def newest(run):
    """Return the step of the newest checkpoint; 0 if there is none."""
    return max((int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*")), default=0)


def partials(run):
    return [path for path in (run / "checkpoints").glob(".*.partial") if int(path.name[6:15]) > EPOCH]


def killed(run, moment, *arguments):
    """Start the command and kill it without warning at a moment that is given by a function of the run."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command_line(*arguments), **streams) as process:
        while not _stopped(process, moment, run):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.0005)
        os.kill(worker_of(process.pid), signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (run / "summary.json").exists()


def _stopped(process, moment, run):
    """Stop the process if the moment has come; let it go on if it has passed before the process stood still."""
    if not moment(run):
        return False
    worker = worker_of(process.pid)
    os.kill(worker, signal.SIGSTOP)
    while "State:\tT" not in Path(f"/proc/{worker}/status").read_text():
        time.sleep(0.0005)
    if moment(run):
        return True
    os.kill(worker, signal.SIGCONT)
    return False


def assert_equal_runs(run, undisturbed):
    assert summary(run) == summary(undisturbed)
    assert rows(run) == rows(undisturbed)
    assert not list(run.rglob("*.partial"))
    expected = {path for path in tree(undisturbed) if not path.startswith("tensorboard")}
    found = {path for path in tree(run) if not path.startswith("tensorboard")}
    assert [path for path in found - expected if not re.fullmatch(r"environment-\d{9}\.json", path)] == []
    assert expected <= found
    assert found - expected  # where the run went on is recorded
    assert (run / "config.toml").read_text() == (undisturbed / "config.toml").read_text()


@pytest.mark.slow
def test_killed_in_the_middle_of_the_second_epoch(tmp_path, digits, undisturbed):
    run = tmp_path / "run"
    killed(run, lambda run: newest(run) > EPOCH + 3, "train", "mnist-2d", "--run-dir", run, *on(digits, *LARGE))
    step = newest(run)
    assert EPOCH < step < 2 * EPOCH
    done = vaeflow("resume", run)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{run}: resuming from step {step} of 64"
    assert_equal_runs(run, undisturbed)


@pytest.mark.slow
def test_killed_during_a_save_twice(tmp_path, digits, undisturbed):
    run = tmp_path / "run"
    killed(run, partials, "train", "mnist-2d", "--run-dir", run, *on(digits, *LARGE))
    first, left = newest(run), partials(run)
    assert left
    killed(run, lambda run: set(partials(run)) - set(left), "resume", run)
    assert first <= newest(run) < 64
    assert partials(run)
    assert not set(left) & set(partials(run))
    done = vaeflow("resume", run)
    assert (done.returncode, done.stderr) == (0, "")
    assert_equal_runs(run, undisturbed)


INTERRUPT = """
    from pathlib import Path
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback
    class Interrupt(Callback):
        def __init__(self, step):
            self._step = step
        def on_steps(self, run, step):
            if run.first_step < self._step <= step and not (run.directory / "again").exists():
                raise KeyboardInterrupt
    def interrupt(*, step: int):
        return Interrupt(step)
    @hookimpl
    def vaeflow_components():
        yield Component("callback", "interrupt", interrupt)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "interrupt.py"
    path.write_text(dedent(INTERRUPT))
    return str(path)


@pytest.mark.parametrize(
    "settings",
    [
        ("precision=mixed_float16", "kl_schedule=capacity", "kl_schedule.epochs=1", "log.tensorboard=true"),
        ("optimizer=schedule-free-adamw", "binarization=fixed", "accumulate=3", "steps=29"),
        repeated(("optimizer=muon", "likelihood=gaussian", "likelihood.variance=shared", "dataset.validation=100")),
    ],
    ids=" ".join,
)
def test_interrupted(settings, tmp_path, digits, plugin):
    often = ("batch_size=64", "checkpoint.every_steps=5", "log.every_steps=7")
    settings = on(digits, *often, *settings)
    interrupted = [*settings, "callbacks=[{name='interrupt', step=21}]", "--plugin", plugin]
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert main(["train", "mnist-2d", "--run-dir", str(run), *interrupted]) == 130
    assert newest(run) == 20
    assert main(["resume", str(run), "--plugin", plugin]) == 130
    (run / "again").touch()
    assert main(["resume", str(run), "--plugin", plugin]) == 0
    assert main(["train", "mnist-2d", "--run-dir", str(whole), *settings]) == 0
    assert summary(run) == summary(whole)
    assert rows(run) == rows(whole)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("finished") / "run", digits)


def test_a_finished_run_is_not_changed(finished, capfd):
    before = tree(finished)
    assert main(["resume", str(finished)]) == 0
    assert capfd.readouterr().out.startswith(f"{finished}: already finished at step 64 of 64; nothing was changed\n")
    assert tree(finished) == before


def test_killed_after_the_last_checkpoint(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "summary.json").unlink()
    assert main(["resume", str(run)]) == 0
    assert_equal_runs(run, finished)


def test_a_finished_run_can_be_made_longer(finished, tmp_path, capfd):
    run = shutil.copytree(finished, tmp_path / "run")
    config = run / "config.toml"
    config.write_text(config.read_text().replace("epochs = 2\n", "epochs = 3\n", 1))
    assert main(["resume", str(run)]) == 0
    assert "resuming from step 64 of 96" in capfd.readouterr().out
    assert json.loads((run / "summary.json").read_text())["steps"] == 96

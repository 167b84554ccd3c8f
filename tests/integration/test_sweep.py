"""A sweep in real processes: killed in the middle, resumed, and its runs are those of `vaeflow train`."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from helpers.jobs import summary_of
from helpers.small_runs import forking_line, on, vaeflow, write_digits


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mnist_content):
    data = write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=64, test=8)
    every = ("evaluate.every_epochs=1000", "log.every_steps=100", "checkpoint.every_steps=100")
    return on(data, "batch_size=16", "microbatches=4", "steps=800", *every)


def sweep(*command):
    return subprocess.run(forking_line(*command), check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_a_sweep_that_is_stopped_is_resumed(tmp_path, settings):
    """2 x 1 runs, one at a time: stopped in the first; the same command resumes it and compares them."""
    out = tmp_path / "out"
    command = ["sweep", "mnist-2d", *settings, "seed=0..1", "--out", out, "--jobs", "1"]
    with subprocess.Popen(forking_line(*command), stderr=subprocess.PIPE, text=True) as process:
        while not (out / "seed=0" / "checkpoints" / "step-000000100").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "stopped by SIGTERM: 0 of 2 runs have finished" in errors
    assert not (out / "seed=0" / "summary.json").exists()
    done = sweep(*command)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "resuming from step" in (out / "seed=0.log").read_text()
    assert done.stdout.splitlines()[-1].startswith("mnist-2d     2  -")
    alone = vaeflow("train", "mnist-2d", *settings, "seed=1", "--run-dir", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert summary_of(tmp_path / "alone")["state_sha256"] == summary_of(out / "seed=1")["state_sha256"]
    again = sweep(*command)
    assert "2 of 2 runs have finished before" in again.stdout + again.stderr
    assert json.loads((out / "sweep.json").read_text())["recipe"] == "mnist-2d"


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_train(tmp_path, settings):
    """The second run's directory is in the way: a file."""
    out = tmp_path / "out"
    command = ["sweep", "mnist-2d", *settings, "steps=2", "latent_size=2,3", "--out", out]
    sweep(*command, "--only", 0)
    (out / "latent_size=3").write_text("in the way")
    done = sweep(*command)
    assert done.returncode == 1
    assert f"1 of 2 runs failed; see {out / 'latent_size=3.log'}" in done.stderr
    assert "already exists and is a regular file" in (out / "latent_size=3.log").read_text()
    assert (out / "latent_size=3").read_text() == "in the way"
    assert (out / "latent_size=2" / "summary.json").is_file()

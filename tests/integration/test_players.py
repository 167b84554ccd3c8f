"""A second player trains beside the model: the same bits on any topology, saved, resumed, logged and checked."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers.cut_runs import cut_back
from helpers.jobs import TOPOLOGIES, job, summary_of, usual
from helpers.paths import HELPERS
from helpers.rules import found_by
from helpers.small_runs import on, rows, vaeflow, write_digits
from safetensors.numpy import load_file

PLUGIN = HELPERS / "player_plugins.py"
SETTINGS = ("objective=factor", "microbatches=6", "batch_size=24", "steps=30", "latent_size=3")


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mnist_content):
    """41 digits: batches of 24 and 17."""
    data = write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=41, test=33)
    return [*on(data, *SETTINGS, "checkpoint.every_steps=10"), "--plugin", str(PLUGIN)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, settings):
    """A run on one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    done = vaeflow("train", "mnist-2d", "--run-dir", run, *settings)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
def test_its_loss_is_logged(alone):
    losses = [row["train/loss/discriminator"] for row in rows(alone) if "train/loss/discriminator" in row]
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_its_weights_and_slots_are_saved(alone):
    newest = max((alone / "checkpoints").glob("step-*"))
    arrays = {name for path in newest.glob("*.safetensors") for name in load_file(path)}
    own = {name.split("/")[2] for name in arrays if name.startswith("player/discriminator/")}
    assert own == {"000", "001", "002", "003", "optimizer"}


@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "horovod x2"))
def test_the_same_bits_on_any_topology(tmp_path, settings, alone, kind, count):
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", *settings)
    assert set(finished.codes) == {0}, finished.outputs
    assert summary_of(tmp_path / "run")["state_sha256"] == summary_of(alone)["state_sha256"]
    assert rows(tmp_path / "run") == rows(alone)


@pytest.mark.slow
def test_resumed_from_the_middle(tmp_path, alone):
    run = cut_back(shutil.copytree(alone, tmp_path / "run"), 20)
    done = vaeflow("resume", run, "--plugin", PLUGIN)
    assert done.returncode == 0, done.stderr
    assert summary_of(run)["state_sha256"] == summary_of(alone)["state_sha256"]


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("twice", "player 'discriminator' is there twice"),
        ("shared", "player 'another' would train '"),
        ("empty", "player 'discriminator' has no weights: its network has no trainable variables"),
        ("state", "player 'discriminator' has '"),
    ],
)
def test_a_wrong_player_is_one_line(tmp_path, settings, mistake, line):
    run = tmp_path / "run"
    done = vaeflow("train", "mnist-2d", "--run-dir", run, *settings, f"objective.mistake={mistake}")
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert "objective 'factor' of " in error
    assert line in error
    assert not run.exists()


@pytest.mark.slow
def test_the_rules_find_a_player_that_does_not_train():
    factor = ("objective", "factor")
    right, idle = (factor, ["loss", "padding", "players"], {}), (factor, ["players"], {"mistake": "idle"})
    *found, (_, outcome, message) = found_by([right, idle], PLUGIN)[factor]
    assert [(rule, outcome) for rule, outcome, _ in found] == [(rule, "ok") for rule in right[1]]
    assert outcome == "broken"
    assert message.startswith("player 'discriminator': its loss never changes ")

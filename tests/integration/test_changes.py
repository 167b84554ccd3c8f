"""What a run depends on has changed: it is refused, or accepted and recorded, before a step is taken."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from helpers.cut_runs import cut_back, moved
from helpers.small_runs import on, rows, summary, train, tree, write_digits

from vaeflow.cli import main

PLUGIN = """
from vaeflow import Component, hookimpl

def small(x_shape, *, width: int = 8):
    from keras import Input, Model, layers
    x = Input(x_shape)
    return Model(x, layers.Dense(width, activation="relu")(layers.Flatten()(x)))

@hookimpl
def vaeflow_components():
    yield Component("encoder", "small", small)
"""
SETTINGS = ("epochs=1", "checkpoint.every_steps=4")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, mnist_content):
    """A run of a plugin's encoder as a kill leaves it at step 4 of 8, its data and the plugin beside it."""
    folder = tmp_path_factory.mktemp("stopped")
    data = write_digits(folder / "digits.npz", mnist_content)
    (folder / "mine.py").write_text(PLUGIN)
    encoder = [s for s in on(data, *SETTINGS) if not s.startswith("encoder")] + ["encoder=small"]
    command = ["train", "mnist-2d", "--plugin", str(folder / "mine.py"), "--run-dir", str(folder / "run"), *encoder]
    assert main(command) == 0
    shutil.copytree(folder / "run", folder / "whole")
    cut_back(folder / "run", 4)
    return folder


@pytest.fixture
def run(tmp_path, stopped, monkeypatch):
    """A copy of it, in a folder that is the working directory."""
    return moved(stopped, tmp_path / "here", monkeypatch)


def command(*words):
    return main([*words, "--plugin", "mine.py"])


def change_plugin(run):
    plugin = run.parent / "mine.py"
    plugin.write_text(plugin.read_text().replace("relu", "tanh"))
    return "the code of mine.py was 'sha256 "


def change_data(run):
    data = run.parent / "digits.npz"
    arrays = dict(np.load(data))
    arrays["x_train"] ^= 255  # all of them: the steps that are left see a part
    np.savez(data, **arrays)
    return "the data's train.x was 'uint8 [256, 28, 28, 1] sha256 "


def change_seed(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("seed = 0", "seed = 1"))
    return "seed was 0 and is 1"


def change_objective(run):
    config = run / "config.toml"
    config.write_text(config.read_text().replace('name = "constant"\nweight = 1.0', 'name = "constant"\nweight = 2.0'))
    return "kl_schedule.weight was 1.0 and is 2.0"


CHANGES = [change_plugin, change_data, change_seed, change_objective]


def test_nothing_has_changed(run):
    whole = run.with_name("whole")
    assert command("resume", str(run)) == 0
    assert summary(run) == summary(whole)
    assert summary(run)["changes"] == []


@pytest.mark.parametrize("change", CHANGES)
def test_resume_refuses_and_loses_nothing(run, capsys, change):
    words, before = change(run), tree(run)
    assert command("resume", str(run)) == 2
    error = capsys.readouterr().err
    assert "since the checkpoint of step 4 was saved, " + words in error
    assert "--accept-changes" in error
    assert tree(run) == before


@pytest.mark.parametrize("change", CHANGES)
def test_resume_accepts_and_records(run, capsys, change):
    words = change(run)
    assert command("resume", str(run), "--accept-changes") == 0
    assert f"warning: accepted by --accept-changes: since the checkpoint of step 4, {words}" in (
        capsys.readouterr().out
    )
    [recorded] = summary(run)["changes"]
    assert recorded.startswith(f"step 4: {words}")
    assert json.loads((run / "environment-000000004.json").read_text())["changes"] == [recorded]
    assert summary(run)["weights_sha256"] != summary(run.with_name("whole"))["weights_sha256"]
    assert command("resume", str(run)) == 0  # the newest checkpoint has the new record
    assert "already finished" in capsys.readouterr().out


@pytest.mark.parametrize("change", CHANGES)
def test_evaluate_refuses_or_is_told(run, capsys, change):
    words = change(run)
    assert command("evaluate", str(run)) == 2
    assert words in capsys.readouterr().err
    assert command("evaluate", str(run), "--accept-changes") == 0


def test_what_no_weight_depends_on_may_change(run, capsys):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("keep = 3", "keep = 5").replace("every_steps = 5", "every_steps = 2"))
    assert command("resume", str(run)) == 0
    said = capsys.readouterr().out
    assert "checkpoint.keep was 3 and is 5; it does not affect the weights" in said
    assert "log.every_steps was 5 and is 2; it does not affect the weights" in said
    assert summary(run)["state_sha256"] == summary(run.with_name("whole"))["state_sha256"]
    assert [row["step"] for row in rows(run)][-1] == 8


def test_data_may_move(run):
    data = run.parent / "digits.npz"
    data.rename(run.parent / "moved.npz")
    config = run / "config.toml"
    config.write_text(config.read_text().replace("digits.npz", "moved.npz"))
    assert command("resume", str(run)) == 0
    assert summary(run)["weights_sha256"] == summary(run.with_name("whole"))["weights_sha256"]


def test_a_checkpoint_without_its_record_is_refused(run, capsys):
    checkpoint = max((run / "checkpoints").iterdir())
    (checkpoint / "provenance.json").unlink()
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for listed in (manifest["sha256"], manifest["bytes"]):
        del listed["provenance.json"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    before = tree(run)
    assert command("resume", str(run)) == 1
    assert "the checkpoint of step 4 has no provenance.json" in capsys.readouterr().err
    assert tree(run) == before


def saved_by_an_earlier_keras(run):
    """Change the record of the newest checkpoint, signed as it would have been."""
    checkpoint = max((run / "checkpoints").iterdir())
    record, manifest = checkpoint / "provenance.json", checkpoint / "manifest.json"
    record.write_text(record.read_text().replace('"keras": "', '"keras": "2.'))
    signed = json.loads(manifest.read_text())
    signed["sha256"][record.name] = hashlib.sha256(record.read_bytes()).hexdigest()
    signed["bytes"][record.name] = record.stat().st_size
    manifest.write_text(json.dumps(signed))


def test_other_versions_are_said_and_recorded(run, capsys):
    saved_by_an_earlier_keras(run)
    assert command("resume", str(run)) == 0
    said = capsys.readouterr().out
    assert "from now on the weights may differ, bit for bit, from those of an uninterrupted run: keras was '2." in said
    assert "step 4: keras was '2." in summary(run)["changes"][0]


def test_other_versions_do_not_change_a_finished_run(run, capsys):
    whole = run.with_name("whole")
    saved_by_an_earlier_keras(whole)
    before = tree(whole)
    assert command("resume", str(whole)) == 0
    assert capsys.readouterr().out.startswith(f"{whole}: already finished at step 8 of 8; nothing was changed\n")
    assert tree(whole) == before


def test_weights_of_another_activation_are_named(run, tmp_path, capsys):
    change_plugin(run)
    settings = [s for s in on(run.parent / "digits.npz", "steps=1") if not s.startswith("encoder")]
    other = str(tmp_path / "other")
    assert command("train", "mnist-2d", "--run-dir", other, *settings, "encoder=small", f"init_from={run}") == 0
    assert "warning: init_from: the weights of" in capsys.readouterr().out


def test_the_environment_has_fingerprints(tmp_path, tiny_arrays):
    run = train(tmp_path / "run", tiny_arrays, "steps=1")
    environment = json.loads((run / "environment.json").read_text())
    assert set(environment["data"]) == {"train.x", "train.y", "test.x", "test.y"}
    assert environment["code"]["vaeflow"].startswith("sha256 ")

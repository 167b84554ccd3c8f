"""Checkpoints: every damage is noticed, the best one stays, weights can seed another run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_runs import on, summary, train, write_digits

import vaeflow as vf
from vaeflow.cli import main
from vaeflow.engine.checkpoint import Best, CheckpointFolder, Progress
from vaeflow.engine.saving import BackgroundSaves
from vaeflow.errors import CheckpointError, UnsavedError

STATE = {"model/000/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/000/slot": np.int64(5)}


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


HELD_OUT = "dataset.validation=32"


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    """Eight epochs that get worse after the first: the learning rate is far too large."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(folder, digits, "epochs=4", "optimizer=sgd", "learning_rate=0.3", "checkpoint.keep=1", HELD_OUT)


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, of steps 1 and 2."""
    made = CheckpointFolder(tmp_path / "checkpoints", keep=3, say=print, config="seed = 1\n")
    for step in (1, 2):
        made.save({**STATE, "optimizer/000/slot": np.int64(step)}, Progress(step))
    return made


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def garble(path):
    path.write_bytes(bytes(reversed(path.read_bytes())) + b"?")


FILES = ("config.toml", "manifest.json", "progress.json", "state.data-00000-of-00001", "state.index")


@pytest.mark.parametrize("harm", [truncate, flip, empty, remove, garble], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", FILES)
def test_every_damage_to_every_file(name, harm, folder, tmp_path, capsys):
    newest = tmp_path / "checkpoints/step-000000002"
    assert sorted(path.name for path in newest.iterdir()) == sorted(FILES)
    harm(newest / name)
    arrays, progress = folder.latest()
    assert (progress.step, arrays["optimizer/000/slot"]) == (1, 1)
    assert f"warning: checkpoint {newest} is damaged" in capsys.readouterr().out
    harm(tmp_path / "checkpoints/step-000000001" / name)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        folder.latest()


def test_damaged_ones_do_not_drive_out_those_that_are_whole(tmp_path, capsys):
    """A run that went back behind damaged checkpoints keeps as many whole ones as it should."""
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2, say=print)
    for step in (10, 20, 30):
        folder.save(STATE, Progress(step))
    for path in (tmp_path / "checkpoints").iterdir():
        flip(path / "progress.json")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        folder.latest()
    for step in (5, 12, 14):
        folder.save(STATE, Progress(step))
        assert folder.latest()[1].step == step
    assert [found.step for _, found in folder.whole()] == [14, 12]
    for step in (20, 30, 40):
        folder.save(STATE, Progress(step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000000030", "step-000000040"]
    assert "is damaged (progress.json has another checksum)" in capsys.readouterr().out


def test_the_best_stays(folder, tmp_path):
    for step in range(3, 9):
        folder.save(STATE, Progress(step, best=Best(2, -100.0)))
    assert sorted(path.name[-1] for path in (tmp_path / "checkpoints").iterdir()) == ["2", "6", "7", "8"]
    assert folder.best()[1].step == 2


def test_the_best_of_a_run_is_found_by_its_bound(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    bounds = {row["step"]: row["validation/bound"] for row in rows if "validation/bound" in row}
    best = max(bounds, key=bounds.get)
    assert best != max(bounds)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step-{best:09d}",
        f"step-{max(bounds):09d}",
    ]
    for step, which in ((best, True), (max(bounds), False)):
        assert vf.load(run, best=which).experiment.evaluator("validation")().bound == pytest.approx(bounds[step])


def test_the_test_split_chooses_no_checkpoint(tmp_path, digits, capfd):
    made = train(tmp_path / "run", digits, "epochs=2", "plots.draw=[]")
    capfd.readouterr()
    for command in (["evaluate", str(made)], ["sample", str(made)]):
        assert main([*command, "--best"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert "no checkpoint is the best: none was saved after an evaluation of a validation split, and no" in line
        assert "Train with dataset.validation=N" in line


def test_evaluate_the_best(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "run")
    assert main(["evaluate", str(copy), "--best"]) == 0
    assert json.loads(capfd.readouterr().out)["checkpoint"] == "best"


def test_a_checkpoint_of_another_config_says_what_differs(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("epochs = 4\n", "epochs = 5\n", 1))
    assert main(["resume", str(copy)]) == 0
    assert "the checkpoint of step 28 was saved with epochs = 4; now it is 5" in capfd.readouterr().out


def test_other_versions_of_a_plugin_are_named(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()
    environment = json.loads((copy / "environment.json").read_text())
    environment["components"]["encoder"] = "somebody's-encoders 0.1"
    (copy / "environment.json").write_text(json.dumps(environment))
    assert main(["resume", str(copy)]) == 0
    assert "components.encoder somebody's-encoders 0.1 is now" in capfd.readouterr().out


# Weights of another run


def test_weights_of_another_run(run, tmp_path, digits, capfd):
    settings = ("steps=1", "learning_rate=1e-30", "optimizer=sgd", "ema=0.5")
    other = tmp_path / "other"
    assert main(["train", "mnist-2d", *on(digits, *settings), "--init-from", str(run), "--run-dir", str(other)]) == 0
    assert "starting from the weights of" in capfd.readouterr().out
    ours, theirs = (vf.load(which).experiment for which in (other, run))
    pairs = zip(ours.model.trainable_variables, theirs.model.trainable_variables, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert all(
        np.array_equal(a, b) for a, b in zip(ours.average.variables, theirs.model.trainable_variables, strict=True)
    )
    assert json.loads((other / "init.json").read_text())["weights_sha256"] == summary(run)["weights_sha256"]


def test_weights_of_another_model(run, tmp_path, digits, capfd):
    settings = on(digits, "encoder.hidden=[9]", f"init_from={run}")
    assert main(["train", "mnist-2d", *settings, "--run-dir", str(tmp_path / "other")]) == 1
    assert "the checkpoint is of another model" in capfd.readouterr().err


def test_weights_of_nothing(tmp_path, digits, capfd):
    assert main(["train", "mnist-2d", *on(digits), "--init-from", str(tmp_path)]) == 2
    assert f"init_from: {tmp_path} is no run directory" in capfd.readouterr().err


# Beside the training


def test_a_save_that_fails_is_said_and_the_next_one_may_not(folder, tmp_path):
    said = []
    saves = BackgroundSaves(folder, said.append)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").touch()  # a file where the folder was
    saves.save(STATE, Progress(3))
    assert saves.committed(wait=True) is None
    assert len(said) == 1
    assert "step 3 could not be saved" in said[0]
    with pytest.raises(UnsavedError, match="step 3 could not be saved"):
        saves.require_saved()
    (tmp_path / "checkpoints").unlink()
    saves.save(STATE, Progress(4))
    assert saves.committed(wait=True) == 4
    assert saves.committed(wait=True) is None
    assert saves.require_saved() == ""
    saves.close()

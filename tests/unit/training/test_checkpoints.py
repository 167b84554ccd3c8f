"""Checkpoints: every damage is noticed, the best one stays, weights can seed another run."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import shutil

import ml_dtypes
import numpy as np
import pytest
from helpers.small_runs import on, summary, train, tree, write_digits

import vaeflow as vf
from vaeflow.cli import main
from vaeflow.errors import CheckpointError, UnsavedError, VaeflowError
from vaeflow.training.checkpoints.background import BackgroundSaves
from vaeflow.training.checkpoints.folder import Best, CheckpointFolder, Progress

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
    made = CheckpointFolder(tmp_path / "checkpoints", keep=3, say=print, texts={"config.toml": "seed = 1\n"})
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


FILES = ("config.toml", "manifest.json", "progress.json", "state.safetensors")


@pytest.mark.parametrize("harm", [truncate, flip, empty, remove, garble], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", FILES)
def test_every_damage_to_every_file(name, harm, folder, tmp_path, capsys):
    newest = tmp_path / "checkpoints/step-000000002"
    assert sorted(path.name for path in newest.iterdir()) == sorted(FILES)
    harm(newest / name)
    arrays, progress = folder.latest()
    assert (progress.step, arrays["optimizer/000/slot"]) == (1, 1)
    assert f"warning: checkpoint {newest} is corrupt" in capsys.readouterr().out
    harm(tmp_path / "checkpoints/step-000000001" / name)
    with pytest.raises(CheckpointError, match="every checkpoint is corrupt"):
        folder.latest()


def test_damaged_ones_do_not_drive_out_those_that_are_whole(tmp_path, capsys):
    """A run that went back behind damaged checkpoints keeps as many whole ones as it should."""
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2, say=print)
    for step in (10, 20, 30):
        folder.save(STATE, Progress(step))
    for path in (tmp_path / "checkpoints").iterdir():
        flip(path / "progress.json")
    with pytest.raises(CheckpointError, match="every checkpoint is corrupt"):
        folder.latest()
    for step in (5, 12, 14):
        folder.save(STATE, Progress(step))
        assert folder.latest()[1].step == step
    assert [found.step for _, found in folder.valid()] == [14, 12]
    for step in (20, 30, 40):
        folder.save(STATE, Progress(step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000000030", "step-000000040"]
    assert "is corrupt (progress.json has a wrong checksum)" in capsys.readouterr().out


# A stranger's checkpoints


def sign(path, **content):
    """Write the manifest again around what is there."""
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name != "manifest.json")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    made = {"sha256": sums, "bytes": {file.name: file.stat().st_size for file in files}}
    (path / "manifest.json").write_text(json.dumps({**made, **content}))


def change(path, **values):
    """Change the progress and sign it."""
    progress = path / "progress.json"
    progress.write_text(json.dumps({**json.loads(progress.read_text()), **values}))
    sign(path)


def too_few(path):
    sums = json.loads((path / "manifest.json").read_text())["sha256"]
    sign(path, sha256={"progress.json": sums["progress.json"]}, bytes={})


def naming(name):
    def harm(path):
        sums = json.loads((path / "manifest.json").read_text())["sha256"]
        sign(path, sha256={**sums, name: "0" * 64}, bytes=dict.fromkeys([*sums, name], 0))

    return harm


def huge(path):
    os.truncate(path / "state.safetensors", 1 << 40)


def deep(path):
    (path / "manifest.json").write_text("[" * 100_000)


def swapped(path):
    for name in ("progress.json", "state.safetensors"):
        shutil.copy(path.parent / "step-000000001" / name, path / name)


def swapped_whole(path):
    one, aside = path.parent / "step-000000001", path.parent / "aside"
    one.rename(aside)
    path.rename(one)
    aside.rename(path)


def not_tensors(path):
    (path / "state.safetensors").write_bytes(bytes(100))
    sign(path)


def linked(name):
    def harm(path):
        (path / name).rename(path.parent / name)
        (path / name).symlink_to(path.parent / name)

    return harm


def fifo(name):
    def harm(path):
        (path / name).unlink()
        os.mkfifo(path / name)

    return harm


def folder_in_place(name):
    def harm(path):
        (path / name).unlink()
        (path / name).mkdir()

    return harm


def linked_whole(path):
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


STRANGE = {
    "lists too few files": (too_few, "manifest.json is incomplete"),
    "names a device": (naming("/dev/zero"), "'/dev/zero' is not a plain file name with its SHA-256"),
    "names a file outside": (naming("../x"), "'../x' is not a plain file name"),
    "names a file that is not there": (naming("provenance.json"), "provenance.json is missing"),
    "a file more": (lambda path: (path / "more").touch(), "'more' is not in manifest.json"),
    "many files more": (lambda path: [(path / f"{i}").touch() for i in range(200)], "it has more than 100 files"),
    "a deep manifest": (deep, "manifest.json can't be read"),
    "sums that are none": (lambda path: sign(path, sha256=[1]), "manifest.json is incomplete"),
    "sizes that are none": (lambda path: sign(path, bytes={"state.safetensors": 1}), "manifest.json is incomplete"),
    "a huge file": (huge, "state.safetensors has 1099511627776 bytes, not"),
    "another step": (lambda path: change(path, step=1), "progress.json is that of step 1"),
    "a step that is due": (lambda path: change(path, evaluation_is_due=True), "progress.json is that of step 2-due"),
    "a text as step": (lambda path: change(path, step="2"), "progress.json: step: Input should be a valid integer"),
    "a negative step": (lambda path: change(path, step=-2), "progress.json: step: Input should be greater"),
    "infinite seconds": (lambda path: change(path, seconds=1e400), "progress.json: seconds: Input should be a finite"),
    "a key more": (lambda path: change(path, steps=2), "progress.json: steps: Unexpected keyword"),
    "a later best": (lambda path: change(path, best={"step": 9, "value": 0.0}), "best.step is greater than step"),
    "a callback's state": (lambda path: change(path, callbacks=[{"callback": 1}]), "callbacks: not a list of names"),
    "a progress that is none": (
        lambda path: ((path / "progress.json").write_text("[]"), sign(path)),
        "progress.json: ",
    ),
    "a config that is none": (
        lambda path: ((path / "config.toml").write_text("="), sign(path)),
        "config.toml: not valid",
    ),
    "no tensors": (not_tensors, "state.safetensors can't be read"),
    "files of another checkpoint": (swapped, "progress.json has a wrong checksum"),
    "another checkpoint": (swapped_whole, "progress.json is that of step 1"),
    "a link as checkpoint": (linked_whole, "it is a symbolic link, not a directory"),
    **{f"a link as {name}": (linked(name), f"'{name}' is a symbolic link, not a regular file") for name in FILES},
    **{f"a FIFO as {name}": (fifo(name), f"'{name}' is a FIFO, not a regular file") for name in FILES},
    **{f"a directory as {name}": (folder_in_place(name), f"'{name}' is a directory, not") for name in FILES},
}


def beside(folder):
    """Return all files that are in no checkpoint."""
    paths = [path for path in folder.rglob("*") if "step-" not in str(path)]
    return {path: path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize("case", STRANGE)
def test_a_strange_checkpoint(case, folder, tmp_path, capsys):
    """It is named, nothing hangs, and the one before it is used; once the run is there again, it is written anew."""
    harm, expected = STRANGE[case]
    newest = tmp_path / "checkpoints/step-000000002"
    harm(newest)
    outside = beside(tmp_path)
    if harm is swapped_whole:
        with pytest.raises(CheckpointError, match="every checkpoint is corrupt"):
            folder.latest()
    else:
        arrays, progress = folder.latest()
        assert (progress.step, arrays["optimizer/000/slot"]) == (1, 1)
    out = capsys.readouterr().out
    assert f"warning: checkpoint {newest} is corrupt (" in out
    assert expected in out
    folder.save({**STATE, "optimizer/000/slot": np.int64(2)}, Progress(2))
    arrays, progress = folder.latest()
    assert (progress.step, arrays["optimizer/000/slot"]) == (2, 2)
    assert not newest.is_symlink()
    assert beside(tmp_path) == outside


@pytest.mark.parametrize("dtype", ["complex128", "longdouble", "object", ml_dtypes.bfloat16])
def test_an_array_that_could_not_be_read_again_is_refused(dtype, folder, tmp_path):
    before = tree(tmp_path)
    with pytest.raises(VaeflowError, match="can't be saved"):
        folder.save({**STATE, "model/001/odd": np.zeros(2, dtype)}, Progress(3))
    assert tree(tmp_path) == before


def test_a_valid_checkpoint_of_another_state_is_replaced(folder, tmp_path):
    """A file of another run lies where this run saves next."""
    before = tree(tmp_path)
    folder.save({**STATE, "optimizer/000/slot": np.int64(2)}, Progress(2, seconds=1.0))
    assert tree(tmp_path) == before  # it is there already
    folder.save({**STATE, "optimizer/000/slot": np.int64(7)}, Progress(2))
    assert folder.latest()[0]["optimizer/000/slot"] == 7


def test_other_texts_and_other_names(tmp_path):
    texts = {"config.toml": "seed = 1\n", "provenance.json": "{}"}
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=1, say=print, texts=texts)
    folder.save(STATE, Progress(1))
    kept = ["step-old", "step-000000001.bak", "step-0000000001", "notes"]
    for name in kept:
        (tmp_path / "checkpoints" / name).mkdir()
    for step in (2, 3):
        folder.save(STATE, Progress(step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == sorted([*kept, "step-000000003"])
    progress = folder.latest()[1]
    assert [folder.text_of(progress, name) for name in (*texts, "other.json")] == [*texts.values(), None]


def test_progress_that_could_not_be_read_again_is_not_saved(folder, tmp_path):
    deep_state = functools.reduce(lambda inner, _: {"a": inner}, range(100), {})
    before = tree(tmp_path)
    with pytest.raises(VaeflowError, match="the progress can't be saved: progress: nested deeper than 64"):
        folder.save(STATE, Progress(3, callbacks=[{"callback": "mine", "state": deep_state}]))
    assert tree(tmp_path) == before


def test_progress_keeps_what_is_not_finite():
    progress = Progress(3, window=[math.nan, math.inf], metrics={"test/elbo": -math.inf})
    again = Progress.from_json(progress.to_json())
    assert str(again) == str(progress)


def test_a_checkpoint_in_a_folder_with_brackets(tmp_path):
    (tmp_path / "a[b]*?").mkdir()
    folder = CheckpointFolder(tmp_path / "a[b]*?/checkpoints", keep=1, say=print)
    folder.save(STATE, Progress(1))
    arrays = folder.latest()[0]
    assert arrays.keys() == STATE.keys()
    assert all(np.array_equal(arrays[name], STATE[name]) for name in STATE)


def test_the_best_stays(folder, tmp_path):
    for step in range(3, 9):
        folder.save(STATE, Progress(step, best=Best(2, -100.0)))
    assert sorted(path.name[-1] for path in (tmp_path / "checkpoints").iterdir()) == ["2", "6", "7", "8"]
    assert folder.best()[1].step == 2


@pytest.mark.slow
def test_the_best_of_a_run_is_found_by_its_elbo(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    bounds = {row["step"]: row["validation/elbo"] for row in rows if "validation/elbo" in row}
    best = max(bounds, key=bounds.get)
    assert best != max(bounds)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step-{best:09d}",
        f"step-{max(bounds):09d}",
    ]
    for step, which in ((best, True), (max(bounds), False)):
        assert vf.load(run, best=which).experiment.evaluator("validation")().elbo == pytest.approx(bounds[step])


@pytest.mark.slow
def test_the_test_split_chooses_no_checkpoint(tmp_path, digits, capfd):
    made = train(tmp_path / "run", digits, "epochs=2", "plots.draw=[]")
    capfd.readouterr()
    for command in (["evaluate", str(made)], ["sample", str(made)]):
        assert main([*command, "--best"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert "there is no best checkpoint: none was saved after an evaluation on a validation split, and no" in line
        assert "Train with dataset.validation=N" in line


def test_evaluate_the_best(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "run")
    assert main(["evaluate", str(copy), "--best"]) == 0
    assert json.loads(capfd.readouterr().out)["checkpoint"] == "best"


@pytest.mark.slow
def test_a_checkpoint_of_another_config_says_what_differs(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("epochs = 4\n", "epochs = 5\n", 1))
    assert main(["resume", str(copy)]) == 0
    assert (
        "since the checkpoint of step 28: epochs was 4 and is 5; it does not affect the weights"
        in capfd.readouterr().out
    )


# Weights of another run


@pytest.mark.slow
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
    assert f"init_from: {tmp_path} is not a run directory" in capfd.readouterr().err


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
    saves.require_saved()
    saves.close()

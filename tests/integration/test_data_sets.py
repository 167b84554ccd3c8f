"""Runs on data sets that need no download: `digits`, `shapes` and `image-folder`."""

import os
import threading
import time

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from helpers.small_runs import SHORT, SMALL, summary
from PIL import Image

from vaeflow.cli import main
from vaeflow.components import datasets, file_datasets
from vaeflow.data import source
from vaeflow.data.sets import Folders, npy

pytestmark = pytest.mark.slow
REAL = ("binarization=none", "likelihood=gaussian")
SHAPES = ("dataset=shapes", "dataset.train_examples=300", "dataset.test_examples=40", *REAL, "steps=12", "epochs=none")


def train(run_dir, capsys, *settings):
    """Train in this process without a warning and return the run's summary."""
    assert main(["train", "mnist-mlp-20", "--run-dir", str(run_dir), *SHORT, *SMALL, *settings]) == 0
    said = capsys.readouterr()
    assert "warning" not in said.out + said.err
    return summary(run_dir)


def test_digits_need_no_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VAEFLOW_CACHE_DIR", str(tmp_path / "cache"))
    found = train(tmp_path / "run", capsys, "dataset=digits", "epochs=1")
    assert found["steps"] == 47
    assert not (tmp_path / "cache").exists()


def test_drawn_by_the_steps_or_before_the_same_bits(tmp_path, capsys, monkeypatch):
    resident = train(tmp_path / "resident", capsys, *SHAPES)
    monkeypatch.setattr(source, "RESIDENT_BYTES", 1000)
    drawn = train(tmp_path / "drawn", capsys, *SHAPES)
    assert drawn == resident


def test_images_train_as_the_same_arrays(tmp_path, capsys):
    pixels = datasets.digits(Folders.default()).train.x[:120]
    for number, image in enumerate(pixels):
        (tmp_path / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / str(number % 2) / f"{number}.png")
    options = {"path": str(tmp_path / "images"), "size": (8, 8), "channels": 1}
    loaded = file_datasets.image_folder(Folders.default(), **options)
    np.savez(tmp_path / "a.npz", x_train=loaded.train.x, x_test=loaded.test.x)
    given = ("dataset=image-folder", f"dataset.path={options['path']}", "dataset.size=[8,8]", "dataset.channels=1")
    images = train(tmp_path / "images-run", capsys, *given, "epochs=1")
    arrays = train(tmp_path / "arrays-run", capsys, "dataset=arrays", f"dataset.path={tmp_path / 'a.npz'}", "epochs=1")
    assert images["weights_sha256"] == arrays["weights_sha256"]


def test_data_that_stay_in_files_give_the_same_bits(tmp_path, capsys, monkeypatch):
    pixels = datasets.digits(Folders.default()).train.x[:330]
    np.savez(tmp_path / "a.npz", x_train=pixels[:300], x_test=pixels[300:])
    shards = tmp_path / "shards"
    shards.mkdir()
    parts = {f"train-{number}": part for number, part in enumerate(np.array_split(pixels[:300], 3))}
    for name, part in {**parts, "test": pixels[300:]}.items():
        np.save(shards / f"x_{name}{'-of-3' if name in parts else ''}.npy", part)
        writer = ArrayRecordWriter(str(shards / f"{name}.array_record"), "group_size:1")
        for image in part:
            writer.write(image.tobytes())
        writer.close()
    settings = ("epochs=2", "dataset.validation=50")
    held = train(tmp_path / "held", capsys, "dataset=arrays", f"dataset.path={tmp_path / 'a.npz'}", *settings)
    monkeypatch.setattr(npy, "HELD_BYTES", 100)
    monkeypatch.setattr(source, "RESIDENT_BYTES", 100)
    kinds = {"arrays": [], "array-record": ["dataset.shape=[8,8]"]}
    for name, more in kinds.items():
        read = train(tmp_path / name, capsys, f"dataset={name}", f"dataset.path={shards}", *more, *settings)
        assert read["weights_sha256"] == held["weights_sha256"]


def test_a_file_that_is_truncated_while_it_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(npy, "HELD_BYTES", 100)
    monkeypatch.setattr(source, "RESIDENT_BYTES", 100)
    path, run = tmp_path / "x.npy", tmp_path / "run"
    np.save(path, datasets.digits(Folders.default()).train.x[:300])

    def cut():
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
            time.sleep(0.05)
        os.truncate(path, 1000)

    cutter = threading.Thread(target=cut)
    cutter.start()
    given = (
        *SHORT,
        *SMALL,
        "dataset=arrays",
        f"dataset.path={path}",
        "steps=1000000",
        "epochs=none",
        "log.every_steps=50",
    )
    assert main(["train", "mnist-mlp-20", "--run-dir", str(run), *given]) != 0
    cutter.join()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vaeflow: ")
    assert f"{path}: it was truncated while it was in use" in last or f"{path} was written to" in last

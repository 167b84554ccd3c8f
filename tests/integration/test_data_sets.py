"""Runs on data sets that need no download: `digits`, `shapes` and `image-folder`."""

import numpy as np
import pytest
from helpers.small_runs import SHORT, SMALL, summary
from PIL import Image

from vaeflow.cli import main
from vaeflow.components import datasets
from vaeflow.data import source
from vaeflow.data.sets import Folders

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
    loaded = datasets.image_folder(Folders.default(), **options)
    np.savez(tmp_path / "a.npz", x_train=loaded.train.x, x_test=loaded.test.x)
    given = ("dataset=image-folder", f"dataset.path={options['path']}", "dataset.size=[8,8]", "dataset.channels=1")
    images = train(tmp_path / "images-run", capsys, *given, "epochs=1")
    arrays = train(tmp_path / "arrays-run", capsys, "dataset=arrays", f"dataset.path={tmp_path / 'a.npz'}", "epochs=1")
    assert images["weights_sha256"] == arrays["weights_sha256"]

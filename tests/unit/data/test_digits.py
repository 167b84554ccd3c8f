"""The digits that are part of the package."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from vaeflow.components import datasets
from vaeflow.data.sets import Folders, digits
from vaeflow.errors import DataError

NOWHERE = Folders(None, Path("nowhere"))
FIRST = """
0  0  5 13  9  1  0  0
0  0 13 15 10 15  5  0
0  3 15  2  0 11  8  0
0  4 12  0  0  8  8  0
0  5  8  0  0  9  8  0
0  4 11  0  1 12  7  0
0  2 14  5 10 12  0  0
0  0  6 13 10  0  0  0
"""
"""The first line of optdigits.tes, a zero."""
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
"""Images of each digit in optdigits.tes, by the description of the data set at UCI."""
SHA256 = "4794179a7c207c1ed723b650ecb231bb75c230669ba7db661dbaaff445bfc1ff"


def test_the_pixels_are_those_of_the_source():
    found = datasets.digits(NOWHERE)
    first = np.array(FIRST.split(), float).reshape(8, 8)
    np.testing.assert_array_equal(found.train.x[0, ..., 0], np.floor(first * 255 / 16 + 0.5))
    assert found.train.y[:12].tolist() == [*range(10), 0, 1]
    assert np.bincount(np.concatenate([found.train.y, found.test.y])).tolist() == COUNTS


def test_the_bytes_stay_the_same():
    found = datasets.digits(NOWHERE)
    digest = hashlib.sha256()
    for split in (found.train, found.test):
        digest.update(split.x.tobytes())
        digest.update(split.y.tobytes())
    assert digest.hexdigest() == SHA256


def test_shapes_types_and_splits():
    found = datasets.digits(NOWHERE)
    assert (found.train.x.shape, found.test.x.shape) == ((1500, 8, 8, 1), (297, 8, 8, 1))
    assert found.train.x.dtype == np.uint8
    assert (found.train.x.min(), found.train.x.max()) == (0, 255)
    assert found.validation is None
    cut = datasets.digits(NOWHERE, validation=100, train_examples=50, test_examples=7)
    assert {name: len(split) for name, split in cut.splits().items()} == {"train": 50, "validation": 100, "test": 7}
    np.testing.assert_array_equal(cut.validation.x, found.train.x[1400:])


def test_no_example_is_there_twice():
    found = datasets.digits(NOWHERE)
    rows = np.concatenate([found.train.x, found.test.x]).reshape(1797, 64)
    assert len(np.unique(rows, axis=0)) == 1797


def test_more_than_there_is_is_one_line():
    with pytest.raises(DataError, match="digits: train_examples=1501; allowed are 1 to 1500") as caught:
        datasets.digits(NOWHERE, train_examples=1501)
    assert caught.value.exit_code == 2


def test_a_package_without_its_file_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "FILE", tmp_path / "optical-digits.npz")
    with pytest.raises(DataError, match=r"optical-digits\.npz: No such file"):
        datasets.digits(NOWHERE)


def test_the_licence_is_beside_the_small_file():
    text = digits.FILE.with_suffix(".txt").read_text()
    assert "Creative Commons Attribution 4.0" in text
    assert "10.24432/C50P49" in text
    assert digits.FILE.stat().st_size < 200_000

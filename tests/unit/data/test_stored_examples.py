"""Examples that stay in files until a step reads them: rows by position, shards, ArrayRecord, reading ahead."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vaeflow.components import file_datasets
from vaeflow.data.files_in_use import FilesInUse
from vaeflow.data.read_ahead import ReadAhead
from vaeflow.data.sets import Folders, image_files, npy
from vaeflow.data.sets.lazy import Part, Shards
from vaeflow.data.sets.stored_rows import StoredRows
from vaeflow.errors import DataError
from vaeflow.plugin_kit.checks.lazy_arrays import require_lazy_array

NOWHERE = Folders(None, Path("nowhere"))
X = np.random.default_rng(0).integers(0, 256, (60, 5, 4), np.uint8)
INDICES = st.lists(st.integers(-60, 59), max_size=70).map(lambda some: np.array(some, np.int64))
SLICES = st.builds(
    slice, *(st.none() | st.integers(-70, 70) for _ in range(2)), st.none() | st.sampled_from([-2, 1, 7])
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "x.npy"
    np.save(path, X)
    return StoredRows(path, path.stat().st_size - X.nbytes, X.shape, X.dtype)


@pytest.fixture
def nothing_is_mapped(monkeypatch):
    monkeypatch.setattr(npy, "HELD_BYTES", 100)


def write_shards(folder, x=X, name="x_train", count=4):
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(x, count)):
        np.save(folder / f"{name}-{number:05d}-of-{count:05d}.npy", part)
    return folder


def arrays(path, **options):
    return file_datasets.arrays(NOWHERE, path=str(path), **options)


# Rows


@settings(deadline=None)
@given(index=INDICES | SLICES | st.integers(-60, 59))
def test_rows_are_those_of_the_array(stored, index):
    shards = Shards([X[:1], Part(stored, 1, 30), X[31:]])
    for lazy in (stored, shards, Part(shards, 0, 60)):
        np.testing.assert_array_equal(lazy[index], X[index])


@pytest.mark.parametrize("index", [60, [-61], [0.5], "a"])
def test_an_index_out_of_range(stored, index):
    with pytest.raises(IndexError, match="integers from -60 to 59"):
        stored[index]


def test_a_part_has_its_own_rows(stored):
    part = Part(stored, 10, 20)
    require_lazy_array(part, "part")
    np.testing.assert_array_equal(part[:], X[10:30])
    with pytest.raises(IndexError):
        part[20]


@pytest.mark.usefixtures("nothing_is_mapped")
def test_a_truncated_file_is_an_error(tmp_path):
    path = tmp_path / "x_train.npy"
    np.save(path, X)
    found = arrays(tmp_path).train.x
    path.write_bytes(path.read_bytes()[:700])
    np.testing.assert_array_equal(found[:5][..., 0], X[:5])
    with pytest.raises(DataError, match=r"x_train\.npy: it was truncated while it was in use"):
        found[[1, 50]]
    with pytest.raises(DataError, match=r"x_train\.npy: it has 700 bytes, but its array needs 1328"):
        arrays(tmp_path)


@pytest.mark.usefixtures("nothing_is_mapped")
@pytest.mark.parametrize("stored_as", [np.float64, np.float16, np.bool_, ">f4", np.float32])
def test_other_types_are_converted_when_read(tmp_path, monkeypatch, stored_as):
    x = (X / 255).astype(stored_as)
    np.savez(tmp_path / "x.npz", x_train=x)
    lazy = arrays(tmp_path / "x.npz", validation=7)
    monkeypatch.setattr(npy, "HELD_BYTES", 2**31)
    held = arrays(tmp_path / "x.npz", validation=7)
    for name in ("train", "validation"):
        got, want = lazy.splits()[name].x, held.splits()[name].x
        assert not isinstance(got, np.ndarray)
        require_lazy_array(got, name)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got[:], want)


# Shards


@pytest.mark.parametrize("held", [100, 2**31])
def test_shards_are_one_array(tmp_path, monkeypatch, held):
    monkeypatch.setattr(npy, "HELD_BYTES", held)
    write_shards(tmp_path, name="x_train", count=7)
    write_shards(tmp_path, np.arange(60), "y_train", 3)
    np.save(tmp_path / "x_test.npy", X[:9])
    found = arrays(tmp_path, validation=13)
    require_lazy_array(found.train.x, "train.x")
    np.testing.assert_array_equal(found.train.x[:][..., 0], X[:47])
    np.testing.assert_array_equal(found.validation.x[:][..., 0], X[47:])
    np.testing.assert_array_equal(found.validation.y, np.arange(47, 60))
    np.testing.assert_array_equal(found.test.x[:][..., 0], X[:9])


def renamed(new):
    return lambda folder: (folder / "x_train-00001-of-00004.npy").rename(folder / new)


WRONG = {
    "missing": (
        lambda folder: (folder / "x_train-00002-of-00004.npy").unlink(),
        "x_train has 3 of 4 shards: number 2 is missing",
    ),
    "two counts": (renamed("x_train-00001-of-00005.npy"), r"00001-of-00005\.npy: other shards of x_train are of 4"),
    "twice": (renamed("x_train-000-of-00004.npy"), r"it has the number of x_train-000-of-00004\.npy"),
    "too high": (renamed("x_train-00004-of-00004.npy"), "x_train has 4 of 4 shards: number 1 is missing"),
    "other type": (
        lambda folder: np.save(folder / "x_train-00001-of-00004.npy", X / 255),
        r"00001-of-00004\.npy: an example is float64 \(5, 4\), but in the first shard uint8 \(5, 4\)",
    ),
    "other shape": (
        lambda folder: np.save(folder / "x_train-00003-of-00004.npy", X[:, 1:]),
        r"an example is uint8 \(4, 4\), but in the first shard uint8 \(5, 4\)",
    ),
    "empty": (
        lambda folder: np.save(folder / "x_train-00003-of-00004.npy", X[:0]),
        r"00003-of-00004\.npy: the shard is empty",
    ),
    "not an array": (
        lambda folder: (folder / "x_train-00003-of-00004.npy").write_bytes(b"x"),
        r"00003-of-00004\.npy: not a complete \.npy array",
    ),
    "both": (lambda folder: np.save(folder / "x_train.npy", X), "x_train is one file and has shards, too"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_shards_are_one_line(tmp_path, kind):
    change, message = WRONG[kind]
    change(write_shards(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        arrays(tmp_path)
    assert "\n" not in str(caught.value)


# ArrayRecord


def write_records(path, rows):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for row in rows:
        writer.write(row.tobytes())
    writer.close()


def records(folder, **options):
    return file_datasets.array_record(NOWHERE, path=str(folder), **{"shape": (5, 4), **options})


@pytest.mark.parametrize(("scale", "dtype"), [(1, "uint8"), (np.float32(1 / 255), "float32")])
def test_records_are_the_rows_of_an_array(tmp_path, scale, dtype):
    x = (X * scale).astype(dtype)
    write_records(tmp_path / "train-0.array_record", x[:20])
    write_records(tmp_path / "train-1.array_record", x[20:50])
    write_records(tmp_path / "test.array_record", x[50:])
    np.save(tmp_path / "y_train.npy", np.arange(50))
    found = records(tmp_path, dtype=dtype, validation=5)
    for split, rows in ((found.train, x[:45]), (found.validation, x[45:50]), (found.test, x[50:])):
        require_lazy_array(split.x, "x")
        np.testing.assert_array_equal(split.x[:][..., 0], rows)
    np.testing.assert_array_equal(found.train.y, np.arange(45))


WRONG_RECORDS = {
    "none": (lambda _: None, r"there is no file train\*\.array_record"),
    "other size": (
        lambda folder: write_records(folder / "train.array_record", X[:, 1:]),
        r"train\.array_record: a record of 16 bytes, but an example of shape \(5, 4\) and type uint8 has 20",
    ),
    "empty": (lambda folder: (folder / "train.array_record").touch(), "it has no records"),
    "another format": (lambda folder: (folder / "train.array_record").write_bytes(bytes(9000)), "it has no records"),
    "a folder": (lambda folder: (folder / "train.array_record").mkdir(), "not a regular file"),
}


@pytest.mark.parametrize("kind", WRONG_RECORDS)
def test_wrong_records_are_one_line(tmp_path, kind):
    make, message = WRONG_RECORDS[kind]
    make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        records(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="missing: there is no such folder"):
        records(tmp_path / "missing")


# Files that change while they are in use


@pytest.mark.usefixtures("nothing_is_mapped")
def test_a_shard_that_is_overwritten_is_found(tmp_path):
    found = arrays(write_shards(tmp_path), validation=7)
    in_use = FilesInUse.of(found.validation.x)
    assert len(in_use.states) == 4
    np.save(tmp_path / "x_test.npy", X)
    assert not in_use.changed()
    path = tmp_path / "x_train-00002-of-00004.npy"
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"other")
    os.utime(path, ns=(0, 0))
    assert in_use.changed() == str(path)


@pytest.mark.usefixtures("nothing_is_mapped")
def test_a_shard_that_is_replaced_stays_open(tmp_path):
    found = arrays(write_shards(tmp_path))
    in_use, path = FilesInUse.of(found.train.x), tmp_path / "x_train-00002-of-00004.npy"
    np.save(tmp_path / "new.npy", X[:15] + 1)
    (tmp_path / "new.npy").replace(path)
    assert not in_use.changed()
    np.testing.assert_array_equal(found.train.x[:][..., 0], X)


def test_an_image_that_is_replaced_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "HELD_BYTES", 100)
    for number, image in enumerate(X):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    found = file_datasets.image_folder(NOWHERE, path=str(tmp_path), size=(5, 4), channels=1)
    in_use = FilesInUse.of(found.train.x)
    assert not in_use.changed()
    path = tmp_path / found.train.x.sources[0].names[found.train.x.first]
    Image.fromarray(X[0] + 1).save(tmp_path / "new.tmp", "PNG")
    (tmp_path / "new.tmp").replace(path)
    assert in_use.changed() == str(path)


# Reading ahead


def test_each_step_reads_what_the_next_one_needs():
    read, here = [], threading.get_ident()

    def some(index):
        read.append((index.tolist(), threading.get_ident() == here))
        return X[index]

    ahead = ReadAhead(some)
    steps = [np.arange(start, start + 4) for start in range(0, 40, 4)]
    for index, following in zip(steps, [*steps[1:], steps[0]], strict=True):
        np.testing.assert_array_equal(ahead.rows(index, following), X[index])
    ahead.rows(steps[0], np.array([], np.int64))
    assert sorted(index for index, _ in read) == sorted([steps[0].tolist(), *(step.tolist() for step in steps)])
    assert [index for index, own in read if own] == [steps[0].tolist()]


def test_an_error_is_raised_by_the_step_that_needs_the_rows():
    def some(index):
        if 7 in index:
            raise DataError("cut")
        return X[index]

    ahead = ReadAhead(some)
    np.testing.assert_array_equal(ahead.rows(np.array([1]), np.array([7])), X[[1]])
    np.testing.assert_array_equal(ahead.rows(np.array([2]), np.array([], int)), X[[2]])
    with pytest.raises(DataError, match="cut"):
        ahead.rows(np.array([7]), np.array([], int))


def test_what_nobody_takes_is_dropped():
    ahead = ReadAhead(lambda index: X[index])
    for start in range(200):
        index, following = np.array([start % 60, 1]), np.array([start % 60, start // 60])
        np.testing.assert_array_equal(ahead.rows(index, following), X[index])
    assert len(ahead._pending) <= 64

"""Data sets from the user's files, the checks on them, splits and binarizations."""

import gzip
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from vaeflow.components import binarizations, datasets, file_datasets
from vaeflow.data.sets import Folders
from vaeflow.data.sets.npy import open_npy, open_npz, write_npz
from vaeflow.errors import DataError, VaeflowError

NOWHERE = Folders(None, Path("nowhere"))
IMAGES = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


def arrays(path, **options):
    return file_datasets.arrays(NOWHERE, path=str(path), **options)


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


def idx_bytes(array, code=8):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


# Folders


def test_folders_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEFLOW_DATA_DIR", "~/data")
    monkeypatch.setenv("VAEFLOW_CACHE_DIR", str(tmp_path))
    assert Folders.default() == Folders(Path("~/data").expanduser(), tmp_path)
    assert Folders.default(tmp_path / "mine").user == tmp_path / "mine"
    monkeypatch.setenv("VAEFLOW_DATA_DIR", "")
    monkeypatch.delenv("VAEFLOW_CACHE_DIR")
    assert Folders.default().user is None
    assert "vaeflow" in str(Folders.default().cache)


# MNIST


def test_mnist_is_mapped_bytes_with_a_channel_axis(mnist_folders):
    found = datasets.mnist(mnist_folders)
    assert (found.train.x.shape, found.test.x.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert found.x_shape == (28, 28, 1)
    assert found.validation is None
    assert found.train.x.dtype == np.uint8
    assert is_mapped(found.train.x)
    assert found.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert found.name == "mnist"
    assert found.source


def test_validation_is_always_the_end_of_the_training_set(mnist_folders):
    whole = datasets.mnist(mnist_folders)
    few = datasets.mnist(mnist_folders, validation=10000, train_examples=100, test_examples=7)
    assert [len(split) for split in few.splits().values()] == [100, 10000, 7]
    np.testing.assert_array_equal(few.validation.x, whole.train.x[50000:])
    np.testing.assert_array_equal(few.validation.y, whole.train.y[50000:])
    np.testing.assert_array_equal(few.train.x, whole.train.x[:100])
    np.testing.assert_array_equal(few.test.x, whole.test.x[:7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 256}, "validation=256 leaves none of 256 training examples"),
        ({"train_examples": 257}, "train_examples=257; allowed are 1 to 256"),
        ({"validation": 6, "train_examples": 251}, "train_examples=251; allowed are 1 to 250"),
        ({"test_examples": 65}, "test_examples=65; allowed are 1 to 64"),
    ],
)
def test_more_than_there_is(tiny_arrays, options, message):
    with pytest.raises(DataError, match=message):
        arrays(tiny_arrays, **options)


# A user's arrays


def test_a_plain_npz_is_mapped_and_a_compressed_one_loaded(tiny_arrays, tmp_path, mnist_content):
    found = arrays(tiny_arrays, validation=56)
    assert [len(split) for split in found.splits().values()] == [200, 56, 64]
    assert is_mapped(found.train.x)
    np.testing.assert_array_equal(found.train.x[..., 0], mnist_content.x_train[:200])
    np.savez_compressed(tmp_path / "packed.npz", x_train=mnist_content.x_train[:256])
    packed = arrays(tmp_path / "packed.npz")
    assert not is_mapped(packed.train.x)
    assert packed.train.y is None
    assert packed.test is None
    np.testing.assert_array_equal(packed.train.x[:200], found.train.x)


def test_a_folder_of_npy_files_and_a_relative_path(tmp_path, monkeypatch):
    for name, array in {"x_train": IMAGES, "x_validation": IMAGES[:2], "y_validation": np.array([3, 4])}.items():
        np.save(tmp_path / f"{name}.npy", array)
    monkeypatch.chdir(tmp_path.parent)
    found = arrays(tmp_path.name)
    assert is_mapped(found.train.x)
    assert found.validation.y.tolist() == [3, 4]
    with pytest.raises(DataError, match="already have a validation split"):
        arrays(tmp_path.name, validation=1)


def test_one_npy_file_with_labels_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", np.arange(6, dtype=">i4"))
    found = arrays("~/x.npy", labels="~/y.npy")
    assert is_mapped(found.train.x)
    assert found.train.y.tolist() == list(range(6))
    assert found.train.y.dtype.isnative


@pytest.mark.parametrize(
    ("array", "shape", "dtype"),
    [
        (IMAGES, (4, 3, 1), "uint8"),
        (IMAGES.reshape(6, 12), (12,), "uint8"),
        (IMAGES.reshape(6, 2, 2, 3), (2, 2, 3), "uint8"),
        (np.asfortranarray(IMAGES), (4, 3, 1), "uint8"),
        (np.float32(IMAGES / 255), (4, 3, 1), "float32"),
        (np.float64(IMAGES / 255), (4, 3, 1), "float32"),
        (np.float16(IMAGES / 255), (4, 3, 1), "float32"),
        ((IMAGES / 255).astype(">f4"), (4, 3, 1), "float32"),
    ],
)
def test_shapes_and_types_that_are_taken(tmp_path, array, shape, dtype):
    np.save(tmp_path / "x.npy", array)
    found = arrays(tmp_path / "x.npy")
    assert found.x_shape == shape
    assert found.train.x.dtype.name == dtype
    assert found.train.x.dtype.isnative
    np.testing.assert_array_equal(found.train.x, array.reshape(6, *shape).astype(dtype))


def test_booleans_become_black_and_white(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES > 40)
    found = arrays(tmp_path / "x.npy").train.x[..., 0]
    np.testing.assert_array_equal(found, np.where(IMAGES > 40, 255, 0))
    assert found.dtype == np.uint8


def with_value(value, index=(4, 2, 1)):
    x = np.float32(IMAGES / 255)
    x[index] = value
    return x


X = IMAGES
TEN = np.arange(10)
BAD = {
    "nan": ({"x_train": with_value(np.nan)}, r"bad\.npz: x_train\[4, 2, 1\] is nan: float pixels must be in \[0, 1\]"),
    "inf": ({"x_train": with_value(-np.inf)}, r"x_train\[4, 2, 1\] is -inf"),
    "range": ({"x_train": np.float32(X)}, r"x_train\[0, 0, 2\] is 2\.0: float pixels must be in \[0, 1\]; divide"),
    "test range": ({"x_train": X / 255, "x_test": -(X / 255)}, r"x_test\[0, 0, 1\] is -0\.0039"),
    "empty": ({"x_train": X[:0]}, r"x_train: the data set is empty, its shape is \(0, 4, 3\)"),
    "empty pixels": ({"x_train": X[:, :0]}, r"the data set is empty"),
    "flat": ({"x_train": X.ravel()}, r"x_train: the shape is \(72,\); allowed are \[N, K\], \[N, H, W\]"),
    "scalar": ({"x_train": np.uint8(3)}, r"x_train: the shape is \(\); allowed"),
    "labels' length": ({"x_train": X, "y_train": TEN}, "y_train: there are 10 labels for 6 examples"),
    "labels' type": ({"x_train": X, "y_train": TEN[:6] / 3}, "y_train: the type of the labels is float64"),
    "labels' shape": ({"x_train": X, "y_train": np.eye(6, dtype=int)}, r"y_train: the shape of the labels is \(6, 6\)"),
    "labels alone": ({"x_train": X, "y_test": TEN}, "y_test: labels without examples; x_test is missing"),
    "wide integers": ({"x_train": X.astype(np.int64)}, "x_train: the type is int64; allowed are uint8"),
    "complex": ({"x_train": X.astype(complex)}, "x_train: the type is complex128"),
    "text": ({"x_train": X.astype(str)}, "x_train: the type is <U"),
    "objects": ({"x_train": X.astype(object)}, "bad.npz: an array of Python objects needs pickle"),
    "0 and 1": ({"x_train": X % 2}, "x_train: every byte is 0 or 1, but bytes are divided by 255"),
    "shapes": ({"x_train": X, "x_test": X[:, :2]}, r"of test is uint8 \(2, 3, 1\), one of train is uint8 \(4, 3, 1\)"),
    "types": ({"x_train": X, "x_test": X / 255}, r"of test is float32 \(4, 3, 1\), one of train is uint8"),
    "no x_train": ({"images": X}, "bad.npz: no array 'x_train'; available: images"),
    "near name": ({"x_train": X, "x_valid": X}, "unknown array 'x_valid'; did you mean 'x_validation'"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_cannot_be_trained_on(case, tmp_path):
    members, message = BAD[case]
    np.savez(tmp_path / "bad.npz", **members)
    with pytest.raises(DataError, match=message) as caught:
        arrays(tmp_path / "bad.npz")
    assert "\n" not in str(caught.value)
    assert "bad.npz" in str(caught.value) or "arrays:" in str(caught.value)


def test_a_bad_pixel_far_into_the_file_has_its_own_row(tmp_path, monkeypatch):
    monkeypatch.setattr("vaeflow.data.sets.checks.BLOCK_BYTES", 100)
    np.save(tmp_path / "x.npy", with_value(np.nan, (5, 0, 2)))
    with pytest.raises(DataError, match=r"x.npy\[5, 0, 2\] is nan"):
        arrays(tmp_path / "x.npy")
    assert np.isnan(arrays(tmp_path / "x.npy", check=False).train.x[5, 0, 2, 0])


def damaged_npz(path):
    np.savez(path, x_train=IMAGES)
    path.write_bytes(path.read_bytes()[:-40])


def damaged_member(path):
    np.savez_compressed(path, x_train=np.random.default_rng(0).integers(0, 255, (100, 8, 8), np.uint8))
    data = bytearray(path.read_bytes())
    data[1000:1100] = bytes(100)
    path.write_bytes(data)


def damaged_npy(path):
    np.save(path, IMAGES)
    path.write_bytes(path.read_bytes()[:-7])


def damaged_magic(path):
    np.save(path, IMAGES)
    path.write_bytes(b"junk" + path.read_bytes()[4:])


def pickled(path):
    path.write_bytes(pickle.dumps(IMAGES))


def pickled_objects(path):
    np.save(path, IMAGES.astype(object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npz", lambda _: None, "x.npz: No such file"),
        ("nothing", lambda _: None, "nothing: No such file"),
        ("folder", Path.mkdir, "folder: no array 'x_train'; available: none"),
        ("x.csv", Path.touch, "x.csv: not a .npz file, a .npy file or a folder"),
        ("x.npz", Path.touch, "x.npz: not a complete .npz file"),
        ("x.npz", damaged_npz, "x.npz: not a complete .npz file"),
        ("x.npz", damaged_member, r"x.npz: not a complete .npz file \(Bad CRC-32 for file 'x_train.npy'"),
        ("x.npy", Path.touch, "x.npy: not a complete .npy array"),
        ("x.npy", damaged_npy, "x.npy: not a complete .npy array"),
        ("x.npy", damaged_magic, "x.npy: not a complete .npy array"),
        ("x.npy", pickled, "x.npy: not a complete .npy array"),
        ("x.npy", pickled_objects, "x.npy: an array of Python objects needs pickle, which is not allowed"),
        ("x.npy", Path.mkdir, "x.npy: it is a directory, not a regular file"),
    ],
)
def test_files_that_cannot_be_read(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        arrays(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_labels_belong_to_a_single_npy(tiny_arrays):
    with pytest.raises(DataError, match=r"this option is only for a single \.npy file"):
        arrays(tiny_arrays, labels="y.npy")


def test_a_map_is_not_loaded(tmp_path):
    shape = (40_000, 256, 256)  # 2.6 GB, a hole in the file
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, shape).flush()
    code = """
import re, sys
from pathlib import Path
from vaeflow.components import file_datasets
from vaeflow.data.sets import Folders
found = file_datasets.arrays(Folders(None, Path()), path=sys.argv[1], check=False, validation=1000)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(found.train.x.shape, peak < 300_000, "tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True, text=True)
    assert done.stdout == "(39000, 256, 256, 1) True False\n", done.stderr


def test_what_is_written_is_read_back(tmp_path):
    members = {"x": IMAGES, "text": np.array("source"), "none": np.zeros((0, 3)), "scalar": np.float32(2)}
    write_npz(tmp_path / "new" / "x.npz", members)
    found = open_npz(tmp_path / "new" / "x.npz")
    for name, array in members.items():
        np.testing.assert_array_equal(found[name], array)
    with np.load(tmp_path / "new" / "x.npz") as again:
        np.testing.assert_array_equal(again["x"], IMAGES)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.npz"]
    with pytest.raises(DataError, match="No such file"):
        open_npy(tmp_path / "nothing.npy")
    (tmp_path / "file").touch()
    with pytest.raises(VaeflowError, match="cannot write"):
        write_npz(tmp_path / "file" / "x.npz", members)


# IDX


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(packed, tmp_path):
    for name, array in {"x": IMAGES, "y": np.arange(6, dtype=np.uint8)}.items():
        data = idx_bytes(array)
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    x, y = str(tmp_path / "x"), str(tmp_path / "y")
    found = file_datasets.idx(NOWHERE, train_images=x, train_labels=y, test_images=x, validation=2, test_examples=1)
    assert [len(split) for split in found.splits().values()] == [4, 2, 1]
    np.testing.assert_array_equal(found.train.x[..., 0], IMAGES[:4])
    assert found.train.y.tolist() == [0, 1, 2, 3]
    assert found.test.y is None
    assert is_mapped(found.train.x) is not packed


def test_idx_floats_are_checked_like_other_floats(tmp_path):
    (tmp_path / "x").write_bytes(idx_bytes((IMAGES / 255).astype(">f4"), 0x0D))
    assert file_datasets.idx(NOWHERE, train_images=str(tmp_path / "x")).train.x.dtype == np.float32
    (tmp_path / "x").write_bytes(idx_bytes(with_value(np.nan).astype(">f4"), 0x0D))
    with pytest.raises(DataError, match=r"x\[4, 2, 1\] is nan"):
        file_datasets.idx(NOWHERE, train_images=str(tmp_path / "x"))


GOOD = idx_bytes(IMAGES)
HUGE = b"\0\0\x08\x03" + b"\xff" * 12
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("data", "message"),
    # The names stand here because pytest would make them of the bytes, and gzip writes the time into those.
    [
        pytest.param(b"", "not an IDX file: it starts with nothing", id="empty"),
        pytest.param(b"PK\3\4 and more", "not an IDX file: it starts with 50 4b 03 04, not with 00 00 08 03", id="zip"),
        pytest.param(GOOD[:9], "ends inside its header", id="half a header"),
        pytest.param(GOOD[:-1], r"states 72 bytes of values \(6, 4, 3\), but there are 71", id="a byte less"),
        pytest.param(GOOD + b"x", "states 72 bytes of values .*, but there are 73", id="a byte more"),
        pytest.param(HUGE, "states 79228162458924105385300197375 bytes", id="huge"),
        pytest.param(PACKED[:-9], "truncated", id="gzip, cut short"),
        pytest.param(PACKED[:12] + b"junk" + PACKED[16:], "x: ", id="gzip, junk inside"),
        pytest.param(
            gzip.compress(GOOD[:-1]), "states 72 bytes of values .*, but there are 71", id="gzip, a byte less"
        ),
        pytest.param(
            gzip.compress(GOOD + b"x"), "states 72 bytes of values .*, but there are more", id="gzip, a byte more"
        ),
        pytest.param(gzip.compress(HUGE), "more than the file can contain", id="gzip, huge"),
        pytest.param(PACKED[:-8] + b"12345678", "CRC", id="gzip, wrong checksum"),
        pytest.param(idx_bytes(IMAGES[:0]), "the data set is empty", id="no images"),
    ],
)
def test_damaged_idx_files(data, message, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        file_datasets.idx(NOWHERE, train_images=str(tmp_path / "x"))
    assert "\n" not in str(caught.value)


def test_idx_options_that_do_not_fit(tmp_path):
    x = tmp_path / "x"
    x.write_bytes(GOOD)
    with pytest.raises(DataError, match="labels without images"):
        file_datasets.idx(NOWHERE, train_images=str(x), test_labels=str(x))
    with pytest.raises(DataError, match="there is no test split"):
        file_datasets.idx(NOWHERE, train_images=str(x), test_examples=3)
    with pytest.raises(DataError, match="missing: No such file"):
        file_datasets.idx(NOWHERE, train_images=str(tmp_path / "missing"))


# Binarizations


@pytest.fixture(scope="module")
def tf():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

    return tf


def test_the_noise_each_binarization_takes():
    kinds = {name: getattr(binarizations, name)() for name in ("threshold", "dynamic", "fixed", "none")}
    assert [kind.noise for kind in kinds.values()] == ["none", "step", "example", "none"]
    assert binarizations.threshold() == binarizations.threshold(level=0.5)


def test_the_threshold_separates_127_from_128(tf):
    pixels = tf.constant(np.arange(256, dtype=np.float32)[None] / np.float32(255))
    x = binarizations.threshold()(pixels, None).numpy()
    np.testing.assert_array_equal(x[0], np.arange(256) > 127.5)
    assert x.dtype == np.float32
    low = binarizations.threshold(level=0.0)(pixels, None).numpy()
    np.testing.assert_array_equal(low[0], np.arange(256) > 0)


@pytest.mark.parametrize("build", [binarizations.dynamic, binarizations.fixed])
def test_sampled_pixels_have_their_intensity_as_probability(build, tf):
    draws = 20_000
    levels = np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32)
    noise = np.random.default_rng(1).random((draws, 5), np.float32)
    x = build()(tf.constant(np.tile(levels, (draws, 1))), tf.constant(noise)).numpy()
    assert set(np.unique(x)) == {0.0, 1.0}
    deviation = np.sqrt(levels * (1 - levels) / draws)
    assert (np.abs(x.mean(axis=0) - levels) <= 4 * deviation).all()  # exact at 0 and 1
    with pytest.raises(TypeError, match="needs uniform noise"):
        build()(tf.constant(levels), None)


def test_none_leaves_pixels_as_they_are(tf):
    pixels = np.float32(IMAGES / 255)
    np.testing.assert_array_equal(binarizations.none()(tf.constant(pixels), None).numpy(), pixels)

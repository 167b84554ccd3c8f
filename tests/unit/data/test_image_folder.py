"""A folder of images: what comes back is what Pillow wrote; splits by names; errors of one line."""

import os
import shutil
import struct
import zlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeflow.cli import main
from vaeflow.components import file_datasets
from vaeflow.data.sets import Folders, image_files
from vaeflow.data.sets.image_folder import Fractions
from vaeflow.errors import DataError
from vaeflow.plugin_kit.checks.lazy_arrays import require_lazy_array

NOWHERE = Folders(None, Path("nowhere"))
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), np.uint8)
GREY = COLOUR[..., 0]


def folder(path, size=(6, 5), **options):
    return file_datasets.image_folder(NOWHERE, path=str(path), size=size, **{"test_fraction": 0.0} | options)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def colours(tmp_path):
    """A folder of 40 colour images without classes."""
    for number, pixels in enumerate(COLOUR):
        write(tmp_path / "colours" / f"{number:02}.png", pixels)
    return tmp_path / "colours"


def by_name(path, **options):
    """Return the pixels of a folder's files by their numbers, and the number of each example of each split."""
    found = folder(path, **options)
    numbers = {row.tobytes(): number for number, row in enumerate(COLOUR)}
    return {name: [numbers[row.tobytes()] for row in split.x] for name, split in found.splits().items()}


# Round trips


def test_pixels_of_png_files_come_back(colours):
    found = folder(colours)
    assert (found.train.x.shape, found.train.x.dtype) == ((40, 6, 5, 3), np.uint8)
    assert found.train.y is None
    assert sorted(by_name(colours)["train"]) == list(range(40))
    assert found.source == f"{colours}: 40 images"


def test_grey_pixels_and_bits_come_back(tmp_path):
    write(tmp_path / "a.PNG", GREY[0])
    Image.fromarray(GREY[1] > 100).save(tmp_path / "b.png")
    found = {row.tobytes() for row in folder(tmp_path, channels=1).train.x}
    assert found == {GREY[0].tobytes(), np.where(GREY[1] > 100, np.uint8(255), np.uint8(0)).tobytes()}


def test_jpeg_files_are_as_pillow_decodes_them(tmp_path):
    smooth = np.asarray(Image.fromarray(COLOUR[0]).resize((32, 24), Image.Resampling.BICUBIC))
    for name in ("a.jpg", "b.JPEG"):
        write(tmp_path / name, smooth, quality=90)
    wanted = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert np.abs(wanted.astype(int) - smooth).mean() < 8
    np.testing.assert_array_equal(folder(tmp_path, (24, 32)).train.x, [wanted, wanted])


def test_a_palette_is_looked_up(tmp_path):
    Image.fromarray(COLOUR[0]).quantize(16).save(tmp_path / "a.png")
    wanted = Image.open(tmp_path / "a.png")
    assert wanted.mode == "P"
    np.testing.assert_array_equal(folder(tmp_path).train.x[0], wanted.convert("RGB"))


def test_the_size_is_reached_by_scale_and_crop(tmp_path):
    across = np.tile(np.repeat(np.uint8([10, 80, 80, 200]), 10), (20, 1))  # 20 x 40
    write(tmp_path / "wide" / "a.png", across)
    write(tmp_path / "high" / "a.png", across.T.copy())
    wide = folder(tmp_path / "wide", (10, 10), channels=1).train.x[0, ..., 0]
    high = folder(tmp_path / "high", (10, 10), channels=1).train.x[0, ..., 0]
    np.testing.assert_array_equal(wide, high.T)
    assert (wide[:, 2:-2] == 80).all()  # of the middle 20 x 20; beside it the kernel reaches other pixels
    cut = folder(tmp_path / "wide", (20, 20), channels=1).train.x[0, ..., 0]
    np.testing.assert_array_equal(cut, across[:, 10:30])


def test_images_are_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned by 90 degrees
    write(tmp_path / "a.png", GREY[0], exif=turned)
    found = folder(tmp_path, (5, 6), channels=1).train.x[0, ..., 0]
    np.testing.assert_array_equal(found, np.rot90(GREY[0], -1))


def test_conversions_are_asked_for(tmp_path):
    write(tmp_path / "grey" / "a.png", GREY[0])
    np.testing.assert_array_equal(
        folder(tmp_path / "grey", convert=True).train.x[0], np.repeat(GREY[0][..., None], 3, axis=-1)
    )
    write(tmp_path / "colour" / "a.png", COLOUR[0])
    found = folder(tmp_path / "colour", channels=1, convert=True).train.x[0, ..., 0]
    np.testing.assert_allclose(found, COLOUR[0] @ [0.299, 0.587, 0.114], atol=1)
    alpha = np.concatenate([COLOUR[0], np.full((6, 5, 1), 255, np.uint8)], axis=-1)
    alpha[0, 0, 3] = 0
    write(tmp_path / "alpha" / "a.png", alpha)
    found = folder(tmp_path / "alpha", convert=True).train.x[0]
    assert found[0, 0].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found[1:], COLOUR[0, 1:])


def test_threads_change_nothing(colours, monkeypatch):
    wanted = folder(colours).train.x
    monkeypatch.setattr(image_files, "cores", lambda: 7)
    monkeypatch.setattr(image_files, "FILES_AT_A_TIME", 3)
    np.testing.assert_array_equal(folder(colours).train.x, wanted)


# Classes


def test_sub_folders_are_classes(tmp_path):
    for name, some in (("cat", COLOUR[:7]), ("bird", COLOUR[7:10]), ("ant", COLOUR[10:12])):
        for number, pixels in enumerate(some):
            write(tmp_path / name / ("deep" if number % 2 else ".") / f"{number}.png", pixels)
    write(tmp_path / ".hidden" / "a.png", COLOUR[0])
    write(tmp_path / "cat" / "._0.png", COLOUR[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not an image")
    found = folder(tmp_path)
    assert np.bincount(found.train.y).tolist() == [2, 3, 7]
    labels = {row.tobytes(): int(y) for row, y in zip(found.train.x, found.train.y, strict=True)}
    assert [labels[row.tobytes()] for row in COLOUR[:12]] == [2] * 7 + [1] * 3 + [0] * 2
    assert found.source.endswith("12 images of 3 classes: 0 ant, 1 bird, 2 cat")


# Splits


def test_splits_depend_on_names_alone(colours, tmp_path):
    options = {"validation_fraction": 0.2, "test_fraction": 0.3}
    before = by_name(colours, **options)
    assert sorted(chain(*before.values())) == list(range(40))
    again = shutil.copytree(colours, tmp_path / "elsewhere")
    for number in range(0, 40, 2):
        (again / f"{number:02}.png").unlink()
    for path in sorted(again.iterdir(), reverse=True):  # another order on the disk, other times
        os.utime(path, (1, 1))
    after = by_name(again, **options)
    assert after == {name: [number for number in some if number % 2] for name, some in before.items()}
    assert by_name(colours, **options, seed=1) != before


def test_fractions_are_about_kept():
    names = [f"class/{number}.png" for number in range(10_000)]
    found = Fractions(0.1, 0.25, seed=3).split(names)
    assert len(found["validation"]) == pytest.approx(1000, abs=4 * 30)
    assert len(found["test"]) == pytest.approx(2500, abs=4 * 43)
    assert sorted(chain(*found.values())) == sorted(names)


def test_a_larger_test_split_has_the_smaller_one():
    names = [f"{number}.png" for number in range(300)]
    few, many = (set(Fractions(0.0, fraction).split(names)["test"]) for fraction in (0.1, 0.2))
    assert few < many


def test_fewer_examples_are_the_first_ones(colours):
    whole = by_name(colours, test_fraction=0.4)
    few = by_name(colours, test_fraction=0.4, train_examples=5, test_examples=3)
    assert few == {"train": whole["train"][:5], "test": whole["test"][:3]}


def test_only_chosen_images_are_decoded(colours):
    chosen = by_name(colours, test_fraction=0.4, train_examples=5, test_examples=3)
    for path in colours.iterdir():
        if int(path.stem) not in set(chain(*chosen.values())):
            path.write_bytes(b"")
    assert by_name(colours, test_fraction=0.4, train_examples=5, test_examples=3) == chosen


# Errors


def truncated(path):
    write(path, RNG.integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])


def flipped(path):
    write(path, RNG.integers(0, 256, (64, 64, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)


def huge(path):
    """A file of 30,000 x 30,000 pixels, by its header."""

    def chunk(content):
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(bytes(1000))))


def as_gif(path):
    Image.fromarray(COLOUR[0]).save(path, "GIF")


def with_alpha(path):
    write(path, np.concatenate([COLOUR[0], COLOUR[0, ..., :1]], axis=-1))


BAD = {
    "empty": (Path.touch, "it is not a PNG or JPEG image"),
    "text": (lambda path: path.write_text("hello"), "it is not a PNG or JPEG image"),
    "gif": (as_gif, "it is not a PNG or JPEG image"),
    "truncated": (truncated, "the image can't be decoded"),
    "flipped": (flipped, "the image can't be decoded"),
    "huge": (huge, "the image is too large for Pillow"),
    "fifo": (os.mkfifo, "it is a FIFO, not a regular file"),
    "broken link": (lambda path: path.symlink_to("nowhere"), r"decoded \(No such file or directory\)"),
    "grey": (
        lambda path: write(path, GREY[0]),
        r"has mode L, but channels=3 takes colour images \(mode RGB\): set channels=1 or convert=true",
    ),
    "alpha": (with_alpha, "the image has transparent pixels, but channels=3 takes colour .*: set convert=true"),
    "deep": (lambda path: write(path, GREY[0].astype(np.uint16)), "has mode I;16: save it with 8 bits per channel"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_named(colours, case):
    make, message = BAD[case]
    (colours / "17.png").unlink()
    make(colours / "17.png")
    with pytest.raises(DataError, match=message) as caught:
        folder(colours)
    assert str(caught.value).startswith(f"{colours}/17.png: ")
    assert "\n" not in str(caught.value)


def test_the_first_bad_file_is_named(colours, monkeypatch):
    monkeypatch.setattr(image_files, "FILES_AT_A_TIME", 1)
    order = by_name(colours)["train"]
    for number in (order[30], order[3], order[20]):
        (colours / f"{number:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=rf"/{order[3]:02}\.png: "):
        folder(colours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_examples": 41}, "train_examples=41; allowed are 1 to 40"),
        ({"test_examples": 1}, "test_examples=1, but there is no test split"),
        (
            {"test_fraction": 1e-9},
            "none of the 40 images is in the test split .*: set its fraction to 0, or take another",
        ),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "leave no image for training"),
    ],
)
def test_splits_that_cannot_be_made(colours, options, message):
    with pytest.raises(DataError, match=message) as caught:
        folder(colours, **options)
    assert "\n" not in str(caught.value)


def test_loose_images_beside_classes(colours):
    write(colours / "cat" / "0.png", COLOUR[0])
    with pytest.raises(DataError, match=r"both in the folder itself \(00\.png\) and in sub-folders \(cat/0\.png\)"):
        folder(colours)


def test_images_that_do_not_fit_are_decoded_when_read(colours, monkeypatch):
    held = folder(colours, test_fraction=0.3, validation_fraction=0.2, train_examples=11)
    monkeypatch.setattr(image_files, "fits", lambda _: False)
    decoded = []
    plain = image_files.Decoder.decode
    monkeypatch.setattr(image_files.Decoder, "decode", lambda *args: decoded.append(args[1]) or plain(*args))
    lazy = folder(colours, test_fraction=0.3, validation_fraction=0.2, train_examples=11)
    assert not decoded
    for name, split in held.splits().items():
        require_lazy_array(lazy.splits()[name].x, name)
        np.testing.assert_array_equal(lazy.splits()[name].x[:], split.x)
    assert lazy.splits().keys() == {"train", "validation", "test"}


def test_a_header_is_checked_before_the_run(colours, monkeypatch):
    monkeypatch.setattr(image_files, "fits", lambda _: False)
    write(colours / "grey.png", GREY[0])
    with pytest.raises(DataError, match=r"grey\.png: the image has mode L, but channels=3"):
        folder(colours)


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("missing", ["dataset.size=[8,8]"], "missing: there is no such folder"),
        ("file", ["dataset.size=[8,8]"], "file: it is a file, not a folder"),
        ("empty", ["dataset.size=[8,8]"], "empty: there are no images (.png, .jpg, .jpeg) in it or below it"),
        ("empty", [], "dataset.size: missing, but image-folder of vaeflow"),
        ("empty", ["dataset.size=[8]"], "dataset.size: [8] is not "),
        ("empty", ["dataset.size=[8,0]"], "dataset.size: [8, 0] is not "),
        ("empty", ["dataset.size=[8,8]", "dataset.channels=2"], "dataset.channels: 2 is not "),
        ("empty", ["dataset.size=[8,8]", "dataset.test_fraction=1"], "dataset.test_fraction: 1 is not a number"),
    ],
)
def test_the_command_ends_with_one_line_and_2(tmp_path, capsys, path, settings, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    given = ["dataset=image-folder", f"dataset.path={tmp_path / path}", *settings]
    assert main(["train", "mnist-mlp-20", *given, "--run-dir", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()

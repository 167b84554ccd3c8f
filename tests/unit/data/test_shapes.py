"""Pictures of known factors: pure functions of (seed, index), uniform factors, pixels that follow them."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import stats

from vaeflow.components import datasets
from vaeflow.data.sets import Folders, shapes
from vaeflow.data.sets.shapes import RANGES, SHAPES, SIDE, Factors, Shapes
from vaeflow.errors import DataError, UsageError

NOWHERE = Folders(None, Path("nowhere"))
PARTS = 20  # of a range, for chi-square
FINE = 16  # points of a pixel's side, for the area that a shape covers
CONTINUOUS = tuple(RANGES)


def of(**values):
    """Return the factors of one picture: a red square in the middle, but for the given ones."""
    usual = {"shape": 0, "hue": 0.0, "size": 12.0, "x": 32.0, "y": 32.0, "rotation": 20.0}
    return Factors(**{name: np.array([value]) for name, value in (usual | values).items()})


def mass(picture):
    """Return the sum of red, green and blue of each pixel, [64, 64], as a share of the brightest channel."""
    return picture.max(axis=-1).astype(float) / 255


def centre(picture):
    """Return the centre of mass (x, y) in pixels."""
    weight, middle = mass(picture), np.arange(SIDE) + 0.5
    return (weight.sum(0) @ middle) / weight.sum(), (weight.sum(1) @ middle) / weight.sum()


# Pure functions


def test_an_example_depends_on_seed_and_index_alone():
    index = np.random.default_rng(0).permutation(3000)[:700]
    few, many = Shapes(5, 0, 3000), Shapes(5, 0, 10**12)
    got = few[index]
    np.testing.assert_array_equal(got, many[index])
    np.testing.assert_array_equal(got[::-1], few[index[::-1]])
    np.testing.assert_array_equal(got[:5], np.stack([many[int(i)] for i in index[:5]]))
    np.testing.assert_array_equal(few[-1], few[2999])
    np.testing.assert_array_equal(few[2000:2003], few[[2000, 2001, 2002]])
    assert (Shapes(6, 0, 3000)[index] != got).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("block", [1, 3, 64])
def test_neighbours_change_no_pixel(monkeypatch, block):
    wanted = Shapes(0, 0, 100)[:]
    monkeypatch.setattr(shapes, "BLOCK", block)
    np.testing.assert_array_equal(Shapes(0, 0, 100)[:], wanted)


def test_more_examples_change_no_example():
    few, many = (datasets.shapes(NOWHERE, train_examples=n, test_examples=n, validation=n) for n in (10, 50))
    for name, split in few.splits().items():
        np.testing.assert_array_equal(split.x[:], many.splits()[name].x[:10])
        np.testing.assert_array_equal(split.y, many.splits()[name].y[:10])


def test_no_two_examples_are_alike():
    found = datasets.shapes(NOWHERE, train_examples=500, test_examples=500, validation=500)
    pictures = np.concatenate([split.x[:] for split in found.splits().values()]).reshape(1500, -1)
    assert len(np.unique(pictures, axis=0)) == 1500


def test_an_index_that_is_not_there_is_an_error():
    for index in (10, -11, [0, 10], 0.5, np.array([True, False])):
        with pytest.raises(IndexError):
            Shapes(0, 0, 10)[index]
    assert Shapes(0, 0, 10)[10:].shape == (0, 64, 64, 3)


# Factors


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("name", Factors._fields)
def test_factors_are_uniform(name, seed):
    counts = np.bincount(shapes.classes(name, shapes.factor(name, np.arange(50_000), seed), PARTS))
    assert len(counts) == (len(SHAPES) if name == "shape" else PARTS)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("one", Factors._fields)
def test_factors_are_independent(one):
    drawn = shapes.factors(np.arange(50_000))._asdict()
    parts = {name: shapes.classes(name, values, 4) for name, values in drawn.items()}
    for other in set(parts) - {one}:
        table = np.histogram2d(parts[one], parts[other], (4, 4))[0]
        assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("name", Factors._fields)
def test_neighbours_seeds_and_splits_are_independent(name):
    def drawn(first, seed):
        return shapes.classes(name, shapes.factor(name, first + np.arange(50_000), seed), 4)

    for other in (drawn(1, 0), drawn(0, 1), drawn(shapes.FIRST["validation"], 0), drawn(shapes.FIRST["test"], 0)):
        table = np.histogram2d(drawn(0, 0), other, (4, 4))[0]
        assert stats.chi2_contingency(table).pvalue > 1e-3


def test_all_factors_of_the_indices_of_a_split():
    x = datasets.shapes(NOWHERE, seed=7).test.x
    some = x.factors(np.array([3, 0, 3999]))
    for name, values in x.factors()._asdict().items():
        np.testing.assert_array_equal(getattr(some, name), values[[3, 0, 3999]])
    np.testing.assert_array_equal(shapes.render(some), x[[3, 0, 3999]])


@pytest.mark.parametrize("name", Factors._fields)
def test_labels_are_a_factor(name):
    found = datasets.shapes(NOWHERE, label=name, train_examples=1000)
    values = found.train.x.factors()._asdict()[name]
    assert found.train.y.shape == (1000,)
    assert found.train.y.dtype == np.uint8
    if name == "shape":
        np.testing.assert_array_equal(found.train.y, values)
        return
    low, high = RANGES[name]
    assert set(found.train.y) == set(range(10))
    np.testing.assert_array_equal(found.train.y, np.floor((values - low) / (high - low) * 10))


def test_no_labels_and_no_other_splits():
    found = datasets.shapes(NOWHERE, label=None, test_examples=0, train_examples=7)
    assert list(found.splits()) == ["train"]
    assert found.train.y is None
    assert found.source == "drawn from known factors, seed 0"


def test_labels_that_do_not_fit_are_one_line(monkeypatch):
    monkeypatch.setattr(shapes, "fits", lambda _: False)
    with pytest.raises(DataError, match=r"shapes: 1099511627776 labels take 1,024 GiB of memory.*set label=none"):
        datasets.shapes(NOWHERE, train_examples=2**40)


def test_many_examples_take_no_memory():
    x = datasets.shapes(NOWHERE, train_examples=2**40, label=None).train.x
    assert x.nbytes == 2**40 * 64 * 64 * 3
    np.testing.assert_array_equal(x[-1], x[[2**40 - 1]][0])


# Pixels


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    ("name", "value"), [("hue", 0.05), ("size", 12.5), ("x", 32.25), ("y", 32.25), ("rotation", 24.0)]
)
def test_each_factor_changes_pixels(name, value, number):
    assert (shapes.render(of(shape=number)) != shapes.render(of(shape=number, **{name: value}))).any()


def test_each_shape_is_another_one():
    found = [shapes.render(of(shape=number))[0] for number in range(4)]
    assert len({picture.tobytes() for picture in found}) == 4


def outline(number, size, rotation):
    """Return points of a shape's outline around (0, 0) with y down, from its definition."""
    t = np.linspace(0, 2 * np.pi, 4000)
    square = np.deg2rad(45 + 90 * np.arange(4))
    triangle = np.deg2rad(-90 + 120 * np.arange(3))
    lobe = math.sqrt(2) / 4
    right = np.linspace(-np.pi / 4, 3 * np.pi / 4, 500)  # from the right side over the right half circle to the notch
    heart_x = np.concatenate([[0.0], 0.25 + lobe * np.cos(right)])
    heart_y = np.concatenate([[0.0], 0.75 + lobe * np.sin(right)])
    around = 0.5 / (1.5 - math.sqrt(0.5))
    points = [
        (np.cos(square), np.sin(square)),
        (np.cos(t), np.sin(t) / 2),
        (np.concatenate([heart_x, -heart_x[::-1]]) / around, 1 - np.concatenate([heart_y, heart_y[::-1]]) / around),
        (np.cos(triangle), np.sin(triangle)),
    ][number]
    turn = np.deg2rad(rotation)
    u, v = (size * one for one in points)
    return u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("size", [7.0, 13.7])
@pytest.mark.parametrize("rotation", [0.0, 37.0, 90.0])
def test_pixels_have_the_area_that_is_covered(number, size, rotation):
    drawn = of(shape=number, size=size, rotation=rotation, x=30.3, y=33.9)
    x, y = outline(number, size, rotation)
    fine = Image.new("L", (SIDE * FINE, SIDE * FINE))
    points = zip(FINE * (x + 30.3) - 0.5, FINE * (y + 33.9) - 0.5, strict=True)
    ImageDraw.Draw(fine).polygon(list(points), fill=255)
    wanted = np.asarray(fine, float).reshape(SIDE, FINE, SIDE, FINE).mean((1, 3)) / 255
    got = mass(shapes.render(drawn)[0])
    assert got.sum() == pytest.approx(wanted.sum(), rel=0.02)
    assert np.abs(got - wanted).max() < 0.3  # at corners; a pixel's coverage is found from one distance
    assert np.abs(got - wanted).mean() < 0.002


def test_places_are_in_pixels():
    for x, y in ((16.0, 48.0), (30.25, 41.5), (48.0, 16.0)):
        for number in (0, 1, 3):  # whose centre of mass is the circle's
            assert centre(shapes.render(of(shape=number, x=x, y=y))[0]) == pytest.approx((x, y), abs=0.1)


def test_nothing_is_cut_off():
    corners = [of(shape=n, size=14.0, x=x, y=y) for n in range(4) for x in (16.0, 48.0) for y in (16.0, 48.0)]
    for drawn in corners:
        inner = shapes.render(drawn._replace(x=np.array([32.0]), y=np.array([32.0])))
        assert mass(shapes.render(drawn)[0]).sum() == pytest.approx(mass(inner[0]).sum())


def test_colours_are_those_of_the_hue():
    import colorsys

    for hue in np.linspace(0, 1, 25):
        middle = shapes.render(of(hue=hue))[0, 32, 32]
        np.testing.assert_allclose(middle, 255 * np.array(colorsys.hsv_to_rgb(hue, 1, 1)), atol=0.51)


def test_a_factor_out_of_its_range_is_one_line():
    with pytest.raises(UsageError, match=r"size\[0\] is 15; allowed are 7.0 to 14.0"):
        shapes.render(of(size=15.0))
    with pytest.raises(UsageError, match=r"x\[0\] is nan; allowed are 16.0 to 48.0"):
        shapes.render(of(x=np.nan))
    with pytest.raises(UsageError, match="unknown factor 'sise'; did you mean 'size'"):
        shapes.factor("sise", np.arange(3))

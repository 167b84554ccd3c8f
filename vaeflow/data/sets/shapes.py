"""Pictures of one coloured shape on black, drawn from known factors: 64 x 64 pixels, red, green and blue.

Example i of a seed is a pure function of (seed, i): nothing is stored, and any example can be drawn alone. The factors
come from a counter-based generator, SplitMix64 (Steele, Lea and Flood 2014), and are drawn with operations that IEEE
754 rounds in one way (no sine, no power), so that the bytes are the same on every machine. This module is public.

Factors are independent and uniform. The shape is always within the picture. Turns end at 90 degrees because a square
is then as before: pictures of different factors are different, but for rounding, hues 0 and 1, and squares at 0 and 90.

Legend: N or B examples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.drawing import OUTLINES, colour, coverage
from vaeflow.data.sets.lazy import LazyRows, rows_of
from vaeflow.errors import DataError, UsageError, nearest
from vaeflow.runtime.memory import fits, format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDE = 64
"""Pixels of a side of a picture."""

SHAPES = tuple(OUTLINES)
"""Names of the shapes, by their numbers."""

RANGES = {"hue": (0.0, 1.0), "size": (7.0, 14.0), "x": (16.0, 48.0), "y": (16.0, 48.0), "rotation": (0.0, 90.0)}
"""Least and largest value of each factor but the shape."""

FIRST = {"train": 0, "validation": 2**40, "test": 2**41}
"""Index of the first example of each split of the data set."""

REACH = 15  # pixels from a centre to the last one that is drawn: the largest size and the blurred edge
WIDTH = 2 * REACH + 1  # pixels of a side of the part of a picture that is drawn
LABELS_AT_A_TIME = 2**20
BLOCK = 1024  # pictures that are drawn at a time, so that their numbers stay in the processor's cache
GAMMA, MIX_1, MIX_2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Factors(NamedTuple):
    """The factors of N pictures.

    Attributes:
        shape: [N] int64: 0 square, 1 ellipse, 2 heart, 3 triangle.
        hue: [N] float64 from 0 to 1, of full saturation and value: 0 and 1 are red, 1/3 is green, 2/3 is blue.
        size: [N] float64 from 7 to 14 pixels: radius of the circle around the shape.
        x: [N] float64 from 16 to 48 pixels: this circle's centre, from the left.
        y: [N] float64 from 16 to 48 pixels: this circle's centre, from the top.
        rotation: [N] float64 from 0 to 90 degrees: clockwise, about this centre.
    """

    shape: np.ndarray
    hue: np.ndarray
    size: np.ndarray
    x: np.ndarray
    y: np.ndarray
    rotation: np.ndarray


def factors(index: np.ndarray, seed: int = 0) -> Factors:
    """Return all factors of examples.

    Args:
        index: [N] integers, at least 0.
        seed: of the data set.

    >>> factors(np.array([0, 1, 2])).shape.tolist()
    [3, 0, 3]
    """
    return Factors(*(factor(name, index, seed) for name in Factors._fields))


def factor(name: str, index: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return one factor of examples, [N]; see `factors`.

    Raises:
        UsageError: if there is no such factor.
    """
    if name not in Factors._fields:
        raise UsageError(f"unknown factor {name!r}; {nearest(name, Factors._fields)}")
    drawn = _uniform(np.asarray(index), Factors._fields.index(name), seed)
    if name == "shape":
        return (drawn * len(SHAPES)).astype(np.int64)
    low, high = RANGES[name]
    return low + (high - low) * drawn


def classes(name: str, values: np.ndarray, count: int = 10) -> np.ndarray:
    """Return a factor as whole numbers, [N] int64: the shape's number, or which of equal parts of its range.

    Args:
        name: of the factor.
        values: [N].
        count: of parts.

    >>> classes("size", np.array([7.0, 10.4, 10.6, 14.0]), 2).tolist()
    [0, 0, 1, 1]
    """
    if name == "shape":
        return np.asarray(values, np.int64)
    low, high = RANGES[name]
    return np.clip((np.asarray(values) - low) / (high - low) * count, 0, count - 1).astype(np.int64)


def render(drawn: Factors) -> np.ndarray:
    """Return pictures of factors, [N, 64, 64, 3] uint8; edges have the share of each pixel that the shape covers.

    Args:
        drawn: of N pictures, within their ranges: other combinations than those of `factors`, too.

    Raises:
        UsageError: if a factor is out of its range.
    """
    rows = Factors(*(np.atleast_1d(np.asarray(values)) for values in drawn))
    _require_ranges(rows)
    pictures = np.zeros((len(rows.shape), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(pictures), BLOCK):
        block = slice(start, start + BLOCK)
        _draw(Factors(*(values[block] for values in rows)), pictures[block])
    return pictures


@dataclass(frozen=True)
class Shapes(LazyRows):
    """Pictures of examples [first, first + count) of a seed, drawn when they are indexed; a `LazyArray`.

    Attributes:
        seed: of the data set.
        first: the first example's index.
        count: N.
    """

    seed: int
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 64, 64, 3)."""
        return (self.count, SIDE, SIDE, 3)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return pictures, [B, 64, 64, 3] uint8, for rows [B]."""
        return render(factors(self.first + rows, self.seed))

    def factors(self, index: Any = slice(None)) -> Factors:
        """Return the factors of examples.

        Args:
            index: an integer, a slice, or indices [B]; all examples by default.
        """
        return factors(self._index(index), self.seed)

    def labels(self, name: str, count: int = 10) -> np.ndarray:
        """Return a factor of all examples as whole numbers, [N] uint8; see `classes`.

        Args:
            name: of the factor.
            count: of parts, at most 256.
        """
        found = np.empty(self.count, np.uint8)
        for start in range(0, self.count, LABELS_AT_A_TIME):
            part = slice(start, min(start + LABELS_AT_A_TIME, self.count))
            found[part] = classes(name, factor(name, self._index(part), self.seed), count)
        return found

    def _index(self, index: Any) -> np.ndarray:
        """Return the indices of the data set, int64: a scalar for an integer, else [B]."""
        return self.first + rows_of(index, self.count)


def shapes_of(counts: Mapping[str, int], label: str | None, seed: int) -> Dataset:
    """Return the data set.

    Args:
        counts: number of examples of train, validation and test; 0 for no such split, but train.
        label: the factor that is the label, or None.
        seed: of the data set.

    Raises:
        DataError: if the labels do not fit into memory.
    """
    splits = {name: _split(Shapes(seed, FIRST[name], count), label) for name, count in counts.items() if count}
    source = f"drawn from known factors, seed {seed}"
    return Dataset("shapes", splits["train"], splits.get("validation"), splits.get("test"), source)


def _split(x: Shapes, label: str | None) -> Split:
    if label is not None and not fits(len(x)):
        raise DataError(
            f"shapes: {len(x)} labels take {format_bytes(len(x))} of memory, more than is available: set label=none"
        )
    return Split(x, None if label is None else x.labels(label))


def _uniform(index: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return uniform numbers in [0, 1) of a factor's number, float64 of the shape of the indices."""
    key = hashlib.blake2b(f"{seed}/shapes".encode(), digest_size=8).digest()
    at = index.astype(np.uint64) * np.uint64(len(Factors._fields)) + np.uint64(number + 1)
    bits = at * GAMMA + np.uint64(int.from_bytes(key, "little"))
    bits = (bits ^ (bits >> np.uint64(30))) * MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * MIX_2
    bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _require_ranges(rows: Factors) -> None:
    limits = {"shape": (0, len(SHAPES) - 1), **RANGES}
    for name, values in rows._asdict().items():
        low, high = limits[name]
        good = (values >= low) & (values <= high)
        if not good.all():
            raise UsageError(f"{name}[{int(good.argmin())}] is {values[good.argmin()]:g}; allowed are {low} to {high}")


def _draw(rows: Factors, pictures: np.ndarray) -> None:
    """Draw on pictures [N, 64, 64, 3] that are black."""
    left, top = (np.floor(centre).astype(np.int64) - REACH for centre in (rows.x, rows.y))
    pixel = np.arange(WIDTH) + 0.5
    right, down = (start[:, None] + pixel - centre[:, None] for start, centre in ((left, rows.x), (top, rows.y)))
    colours = colour(rows.hue)[:, None, None]
    for number, outline in enumerate(OUTLINES.values()):
        chosen = np.flatnonzero(rows.shape == number)
        covered = coverage(outline, right[chosen], down[chosen], rows.size[chosen], rows.rotation[chosen])
        part = np.empty((*covered.shape, 3), np.uint8)
        for channel in range(3):
            part[..., channel] = covered * colours[chosen, :, :, channel] + np.float32(0.5)
        for drawn, one, row, column in zip(part, chosen, top[chosen], left[chosen], strict=True):
            pictures[one, row : row + WIDTH, column : column + WIDTH] = drawn

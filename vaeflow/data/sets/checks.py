"""Check a user's arrays before training, in blocks so that memory maps are not loaded completely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.contracts import Split
from vaeflow.data.sets.lazy import Converted
from vaeflow.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import LazyArray

BLOCK_BYTES = 2**24
TAKES = "allowed are uint8 from 0 to 255, or floats from 0 to 1"


@dataclass(frozen=True)
class Named:
    """An array and its name for error messages.

    Attributes:
        array: as stored in the file, or in several files.
        where: the file, and the array's name if the file has several.
    """

    array: np.ndarray | LazyArray
    where: str


def checked_split(x: Named, y: Named | None, *, pixels: bool) -> Split:
    """Check the arrays of a split and return it.

    Args:
        x: images [N, H, W] or [N, H, W, C], or vectors [N, K]. uint8 and float32 are used as they are, and stay on the
            disk; other floats and booleans are converted in memory (4 bytes and 1 byte per pixel), those of a
            `LazyArray` when they are read.
        y: labels [N], whole numbers, or None.
        pixels: whether to check every pixel, too.

    Returns:
        The split; a channel axis is added to images without one, [N, H, W, 1].

    Raises:
        DataError: if the arrays are empty, of the wrong type, shape or range, or of different lengths.
    """
    _check_shape(x)
    _check_type(x)
    if pixels:
        _check_pixels(x)
    labels = None if y is None else _labels(y, len(x.array))
    x_shape = tuple(x.array.shape[1:])
    return Split(_converted(x.array, (*x_shape, 1) if len(x_shape) == 2 else x_shape), labels)


def _check_shape(x: Named) -> None:
    if len(x.array.shape) < 2:
        raise DataError(f"{x.where}: the shape is {x.array.shape}; allowed are [N, K], [N, H, W] and [N, H, W, C]")
    if 0 in x.array.shape:
        raise DataError(f"{x.where}: the data set is empty, its shape is {x.array.shape}")


def _check_type(x: Named) -> None:
    dtype = x.array.dtype
    if dtype != np.uint8 and dtype.kind not in "bf":
        raise DataError(f"{x.where}: the type is {dtype}; {TAKES}")


def _check_pixels(x: Named) -> None:
    if x.array.dtype == np.uint8:
        _check_bytes(x)
    elif x.array.dtype.kind == "f":
        _check_floats(x)


def _check_bytes(x: Named) -> None:
    if is_bits(x.array):
        raise DataError(
            f"{x.where}: every byte is 0 or 1, but bytes are divided by 255: "
            "store such pixels as bool, or multiply them by 255 (check=false skips this check)"
        )


def _check_floats(x: Named) -> None:
    for start, block in blocks(x.array):
        good = (block >= 0) & (block <= 1)  # NaN compares false
        if not good.all():
            row, *rest = (int(i) for i in np.unravel_index(good.argmin(), good.shape))
            value = block[row, *rest]
            index = ", ".join(str(i) for i in (start + row, *rest))
            advice = "divide by the largest value" if np.isfinite(value) else "remove such examples"
            raise DataError(
                f"{x.where}[{index}] is {value}: float pixels must be in [0, 1]; {advice} "
                "(check=false skips this check)"
            )


def is_bits(x: np.ndarray | LazyArray) -> bool:
    """Return whether every byte of [N, *X] is 0 or 1; for most data sets the first block decides."""
    return all(block.max() <= 1 for _, block in blocks(x))


def blocks(x: np.ndarray | LazyArray, count: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of examples, each with the index of its first example.

    Args:
        x: [N, *X].
        count: how many, the first ones; all by default.
    """
    end = len(x) if count is None else min(count, len(x))
    rows = max(1, BLOCK_BYTES // x[0].nbytes)
    for start in range(0, end, rows):
        yield start, x[start : min(start + rows, end)]


def _converted(x: np.ndarray | LazyArray, x_shape: tuple[int, ...]) -> np.ndarray | LazyArray:
    """Return examples of a type that a run takes, [N, *x_shape]."""
    if isinstance(x, np.ndarray):
        return _as_stored(x).reshape((len(x), *x_shape))
    dtype = _as_stored(np.empty(0, x.dtype)).dtype
    return x if (x.dtype, x.shape[1:]) == (dtype, x_shape) else Converted(x, x_shape, dtype, _as_stored)


def _as_stored(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.bool_:
        return x.view(np.uint8) * np.uint8(255)
    return x if x.dtype in (np.uint8, np.float32) and x.dtype.isnative else x.astype(np.float32)


def _labels(named: Named, examples: int) -> np.ndarray:
    y, where = named.array, named.where
    if y.dtype.kind not in "iu":
        raise DataError(f"{where}: the type of the labels is {y.dtype}; they must be whole numbers")
    if len(y.shape) != 1:
        raise DataError(f"{where}: the shape of the labels is {y.shape}; it must be [N], one number per example")
    if len(y) != examples:
        raise DataError(f"{where}: there are {len(y)} labels for {examples} examples")
    return y[:].astype(y.dtype.newbyteorder("="))

"""Fingerprints of a data set's arrays: of all bytes up to 2 GiB, of a sample beyond."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import Dataset, LazyArray

EXACT_BYTES = 2**31
"""Arrays up to this size are hashed completely, which takes about two seconds per 2 GiB."""

BLOCK_BYTES = 2**24
SAMPLED_BLOCKS, SAMPLED_BYTES = 1024, 2**18
"""Number and size of the blocks that are hashed of a larger array, evenly spread, including the first and the last."""


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """Return a fingerprint of each array of a data set: type, shape and SHA-256, by `train.x`, `train.y` and so on.

    Args:
        dataset: with the splits of the run, before any transform.
    """
    arrays = {f"{name}.{axis}": getattr(split, axis) for name, split in dataset.splits().items() for axis in "xy"}
    return {name: fingerprint(array) for name, array in arrays.items() if array is not None}


def fingerprint(array: np.ndarray | LazyArray) -> str:
    """Return type, shape and checksum of an array; independent of its memory layout.

    >>> fingerprint(np.zeros((2, 3), np.uint8))
    'uint8 [2, 3] sha256 b0f66adc83641586'
    """
    exact = array.nbytes <= EXACT_BYTES
    digest = hashlib.sha256()
    for block in _all(array) if exact else _sample(array):
        digest.update(np.ascontiguousarray(block).data)
    what = "sha256" if exact else f"sha256 of {SAMPLED_BLOCKS} blocks of {SAMPLED_BYTES >> 10} KiB"
    return f"{array.dtype} {list(array.shape)} {what} {digest.hexdigest()[:16]}"


def _all(array: np.ndarray | LazyArray) -> Iterator[np.ndarray]:
    rows = _rows_of(array, BLOCK_BYTES)
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _sample(array: np.ndarray | LazyArray) -> Iterator[np.ndarray]:
    rows = _rows_of(array, SAMPLED_BYTES)
    for start in np.linspace(0, len(array) - rows, SAMPLED_BLOCKS).astype(np.int64):
        yield array[start : start + rows]


def _rows_of(array: np.ndarray | LazyArray, size: int) -> int:
    """Return how many examples of [N, *X] have about `size` bytes; at least one."""
    return max(1, size // max(1, array.nbytes // max(1, len(array))))

"""A sample of a split for warnings: fingerprints of its examples, and some of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.checks import blocks

if TYPE_CHECKING:
    from vaeflow.contracts import Split

BYTES = 2**28  # of a split; its first examples where it is larger
EXAMPLES = 2000  # evenly spread over the split


@dataclass(frozen=True)
class LookedAt:
    """A split, with fingerprints and a sample of its examples.

    Attributes:
        name: the split's.
        split: its examples.
    """

    name: str
    split: Split

    @property
    def count(self) -> int:
        """The number of examples with a fingerprint."""
        return min(len(self.split), max(1, BYTES // max(1, self.split.x[0].nbytes)))

    @property
    def part(self) -> str:
        """A note if not all examples have a fingerprint: ` (the first 1000 of 2000 were checked)`."""
        return "" if self.count == len(self.split) else f" (the first {self.count} of {len(self.split)} were checked)"

    @cached_property
    def fingerprints(self) -> np.ndarray:
        """A number of 64 bits for each of the first examples, [count]; equal examples have equal ones."""
        words = -(-self.split.x[0].nbytes // 8)
        weights = np.random.default_rng(0).integers(0, 2**64, words, np.uint64, endpoint=False) | np.uint64(1)
        return np.concatenate([_hashed(block, words, weights) for _, block in blocks(self.split.x, self.count)])

    @cached_property
    def some(self) -> np.ndarray:
        """Some examples as rows of numbers, [n, elements], evenly spread over the split."""
        index = self.index
        return np.asarray(self.split.x[index]).reshape((len(index), -1))

    @property
    def index(self) -> np.ndarray:
        """The indices of `some`."""
        most = max(1, min(EXAMPLES, BYTES // max(1, self.split.x[0].nbytes)))
        return np.unique(np.linspace(0, len(self.split) - 1, min(len(self.split), most)).astype(np.int64))


def _hashed(block: np.ndarray, words: int, weights: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(block).reshape((len(block), -1)).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, 8 * words - rows.shape[1]))) if rows.shape[1] % 8 else rows
    return np.asarray(padded.view(np.uint64) @ weights)

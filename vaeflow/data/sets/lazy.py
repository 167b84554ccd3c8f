"""Examples that stay where they are until they are indexed: the base class of such arrays, and views of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from vaeflow.contracts import LazyArray

HELD_BYTES = 2**31
"""Examples of up to so many bytes are mapped or held in memory; of more than that, rows are read when indexed."""


class LazyRows(ABC):
    """A `LazyArray` of which only `shape`, `dtype` and the reading of rows are to be written."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the examples."""

    @abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *X] for rows [B] int64, each from 0 to N - 1, in any order; several threads call it."""

    @property
    def files(self) -> Iterable[Path]:
        """The files that rows are read from; those of `sources` are not among them."""
        return ()

    @property
    def opens_again(self) -> bool:
        """Whether each reading opens `files` by their names; if not, they stay open."""
        return False

    @property
    def sources(self) -> Iterable[np.ndarray | LazyArray]:
        """Other examples that rows are read from."""
        return ()

    @property
    def nbytes(self) -> int:
        """Bytes of all examples, as if they were held in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """Return examples: [*X] for an integer, [B, *X] for a slice or for indices [B].

        Raises:
            IndexError: if an index is not an integer from -N to N - 1.
        """
        rows = rows_of(index, len(self))
        return self.read(rows.reshape(-1)).reshape((*rows.shape, *self.shape[1:]))


def rows_of(index: Any, count: int) -> np.ndarray:
    """Return the rows that an index of [N, *X] means, int64: a scalar for an integer, else [B].

    Args:
        index: an integer, a slice, or integers [B]; negative ones count from the end.
        count: N.

    Raises:
        IndexError: if it is something else, or out of range.

    >>> rows_of(slice(-2, None), 10).tolist(), rows_of([3, -1], 10).tolist()
    ([8, 9], [3, 9])
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(count), dtype=np.int64)
    rows = np.asarray(index)
    if rows.dtype.kind not in "iu" or (rows.size and not (-count <= rows.min() and rows.max() < count)):
        raise IndexError(f"index {index!r} is not of integers from {-count} to {count - 1}")
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + count, rows)


@dataclass(frozen=True)
class Part(LazyRows):
    """Rows [first, first + count) of examples that are not read yet.

    Attributes:
        whole: the examples, [N, *X].
        first: the first row.
        count: number of rows.
    """

    whole: LazyArray
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, *X)."""
        return (self.count, *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of the whole."""
        return self.whole.dtype

    @property
    def sources(self) -> Iterable[np.ndarray | LazyArray]:
        """The whole."""
        return (self.whole,)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *X]."""
        return self.whole[self.first + rows]


def part_of(x: np.ndarray | LazyArray, first: int, count: int) -> np.ndarray | LazyArray:
    """Return rows [first, first + count) of examples, without reading or copying them."""
    return x[first : first + count] if isinstance(x, np.ndarray) else Part(x, first, count)


class Converted(LazyRows):
    """Examples in another shape or type, converted when they are read.

    Args:
        stored: the examples, [N, *X].
        x_shape: the shape of one example, with as many elements.
        dtype: type of the converted examples.
        convert: turns stored examples into this type.
    """

    def __init__(
        self,
        stored: LazyArray,
        x_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        convert: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.stored, self.x_shape, self.convert = stored, x_shape, convert
        self._dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *x_shape)."""
        return (len(self.stored), *self.x_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the converted examples."""
        return self._dtype

    @property
    def sources(self) -> Iterable[np.ndarray | LazyArray]:
        """The examples before their conversion."""
        return (self.stored,)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *x_shape]."""
        return self.convert(self.stored[rows]).reshape((len(rows), *self.x_shape))


class Shards(LazyRows):
    """Examples of several arrays, one after another.

    Args:
        parts: at least one; all of the same type and shape of an example.
    """

    def __init__(self, parts: Sequence[np.ndarray | LazyArray]) -> None:
        self.parts = tuple(parts)
        self.starts = [0, *np.cumsum([len(part) for part in parts]).tolist()]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""
        return (self.starts[-1], *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of the parts."""
        return self.parts[0].dtype

    @property
    def sources(self) -> Iterable[np.ndarray | LazyArray]:
        """The parts."""
        return self.parts

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *X]."""
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of_part = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(of_part):
            chosen = of_part == number
            found[chosen] = self.parts[number][rows[chosen] - self.starts[number]]
        return found

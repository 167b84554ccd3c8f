"""Rows of an array in a file, read by their positions: no address space is mapped, and a cut file is an error."""

from __future__ import annotations

import math
import os
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.data.sets.lazy import LazyRows
from vaeflow.errors import DataError
from vaeflow.files.read import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class StoredRows(LazyRows):
    """An array [N, *X] that a file has from a position on, in C order.

    Args:
        path: the file.
        start: position of the first byte.
        shape: (N, *X).
        dtype: of the elements, as stored.

    Raises:
        FileError: if it is not a regular file.
        OSError: if it can't be opened.
        DataError: if the file is too short.
    """

    def __init__(self, path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.start, self._shape, self._dtype = path, start, shape, dtype
        self._row = math.prod(shape[1:]) * dtype.itemsize
        with open_regular(path, follow=True) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # what lies behind a row is not read as well
        size = os.fstat(self._descriptor).st_size
        if size < start + self.nbytes:
            raise DataError(f"{path}: it has {size} bytes, but its array needs {start + self.nbytes}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self._dtype

    @property
    def files(self) -> Iterable[Path]:
        """The file, which stays open."""
        return (self.path,)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *X].

        Raises:
            DataError: if the file was cut meanwhile, or can't be read.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        memory = found.reshape(-1).view(np.uint8).data
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)] if len(rows) else []
        runs = [(first, end, self.start + int(rows[first]) * self._row) for first, end in pairwise([0, *ends])]
        for first, end, position in runs if len(runs) > 1 else ():  # the disk gets all requests, then they are awaited
            os.posix_fadvise(self._descriptor, position, (end - first) * self._row, os.POSIX_FADV_WILLNEED)
        for first, end, position in runs:  # rows that lie one after another are one read
            self._fill(memory[first * self._row : end * self._row], position)
        return found

    def _fill(self, memory: memoryview, position: int) -> None:
        while len(memory):
            try:
                count = os.preadv(self._descriptor, [memory], position)
            except OSError as error:
                raise DataError(f"{self.path}: {error.strerror or error}") from error
            if not count:
                raise DataError(f"{self.path}: it was truncated while it was in use: it ends before byte {position}")
            memory, position = memory[count:], position + count

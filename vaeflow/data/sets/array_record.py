"""Read a folder of ArrayRecord files, whose records are the bytes of one example each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.arrays import SPLITS
from vaeflow.data.sets.checks import Named, checked_split
from vaeflow.data.sets.lazy import LazyRows, Shards
from vaeflow.data.sets.npy import open_npy
from vaeflow.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SUFFIX = ".array_record"


@dataclass(frozen=True)
class Records:
    """What a record is.

    Attributes:
        shape: X of one example.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of one record."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


class RecordFile(LazyRows):
    """The examples of one file, read by Google's library array_record when they are indexed.

    Args:
        path: the file.
        records: what a record is.

    Raises:
        DataError: if the file is not an ArrayRecord file, or its records have another size.
    """

    def __init__(self, path: Path, records: Records) -> None:
        from array_record.python.array_record_module import ArrayRecordReader

        if not path.is_file():
            raise DataError(f"{path}: not a regular file")
        self.path, self.records = path, records
        # Without buffers that read on: rows are read in the order of a shuffle.
        self._reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        self._count = self._reader.num_records() if self._reader.ok() else 0
        if not self._count:
            raise DataError(f"{path}: it has no records; it is empty, truncated, or not an ArrayRecord file")
        self.read(np.array([0, self._count - 1]))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""
        return (self._count, *self.records.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements of an example."""
        return self.records.dtype

    @property
    def files(self) -> Iterable[Path]:
        """The file, which stays open."""
        return (self.path,)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return examples [B, *X].

        Raises:
            DataError: if a record can't be read, or has another size.
        """
        try:
            found: Sequence[bytes] = self._reader.read(rows.tolist()) if len(rows) else []
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"{self.path}: its records can't be read ({error})") from error
        wrong = next((len(record) for record in found if len(record) != self.records.nbytes), None)
        if wrong is not None or len(found) != len(rows):
            got = "no record" if wrong is None else f"a record of {wrong} bytes"
            raise DataError(
                f"{self.path}: {got}, but an example of shape {self.records.shape} and type {self.records.dtype} has "
                f"{self.records.nbytes}"
            )
        return np.frombuffer(b"".join(found), self.records.dtype).reshape((len(rows), *self.records.shape))


def open_array_records(folder: Path, records: Records, *, check: bool) -> Dataset:
    """Return the splits of a folder: `train*.array_record`, and optionally `validation*` and `test*`.

    Args:
        folder: has the files of each split, one after another in the order of their names, and optionally its labels
            `y_train.npy` and so on.
        records: what a record is.
        check: whether to check every pixel.

    Raises:
        DataError: if there are none, or one can't be used.
        UsageError: if the library is not installed.
    """
    try:
        import array_record  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "data set 'array-record' needs the package array_record: pip install 'vaeflow[array-record]'"
        ) from error
    if not folder.is_dir():
        raise DataError(f"{folder}: {'not a folder' if folder.exists() else 'there is no such folder'}")
    train, validation, test = (_split(folder, name, records, check=check) for name in SPLITS)
    if train is None:
        raise DataError(f"{folder}: there is no file train*{SUFFIX}")
    return Dataset("array-record", train, validation, test, str(folder))


def _split(folder: Path, name: str, records: Records, *, check: bool) -> Split | None:
    files = sorted(file for file in folder.iterdir() if file.name.startswith(name) and file.suffix == SUFFIX)
    if not files:
        return None
    labels = folder / f"y_{name}.npy"
    y = Named(open_npy(labels), str(labels)) if labels.exists() else None
    x = Named(Shards([RecordFile(file, records) for file in files]), f"{folder}: {name}*{SUFFIX}")
    return checked_split(x, y, pixels=check)

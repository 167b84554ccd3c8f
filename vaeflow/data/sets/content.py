"""The arrays of a published data set and their checksum, which is the same for every source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vaeflow.data.sets.npy import open_npz
from vaeflow.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Content(NamedTuple):
    """A published data set: uint8 images and labels, in the published order.

    Attributes:
        x_train: [N, H, W].
        y_train: [N].
        x_test: [M, H, W].
        y_test: [M].
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def sha256(self) -> str:
        """Return the checksum of the arrays, independent of the file format.

        It is computed from, for each array in order: the line "NAME uint8 SHAPE" and its bytes, row by row.

        >>> Content(*[np.zeros(2, np.uint8)] * 4).sha256()[:16]
        'ef588e8f5974fafc'
        """
        digest = hashlib.sha256()
        for name, array in self._asdict().items():
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], where: str) -> Content:
        """Return the content from named arrays; integers from 0 to 255 are converted to bytes.

        Raises:
            DataError: if an array is missing or has other values.
        """
        missing = [name for name in cls._fields if name not in arrays]
        if missing:
            raise DataError(f"{where}: no array {missing[0]!r}; available: {', '.join(sorted(arrays)) or 'none'}")
        return cls(*(_as_bytes(arrays[name], f"{where}: {name}") for name in cls._fields))


def _as_bytes(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint8).max)):
        raise DataError(f"{where} is {array.dtype}; published data are whole numbers from 0 to 255")
    return array.astype(np.uint8)


def read_content(path: Path) -> Content:
    """Return the content of a .npz file of x_train, y_train, x_test, y_test.

    Raises:
        DataError: if the file is missing or corrupt, or contains other arrays.
    """
    return Content.of(open_npz(path), str(path))


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
        name: the component's name.
        sha256: of the content.
    """

    name: str
    sha256: str

    def check(self, content: Content, where: str) -> None:
        """Check that arrays are this data set.

        Raises:
            DataError: if they are not; the message contains both checksums.
        """
        got = content.sha256()
        if got == self.sha256:
            return
        other = next((f" (they are those of {name})" for name, known in PUBLISHED.items() if known.sha256 == got), "")
        raise DataError(
            f"{where}: the arrays are not those of {self.name}{other}: sha256 expected {self.sha256}, got {got}"
        )


PUBLISHED = {
    known.name: known
    for known in (
        Published("mnist", "796354bf1a5bdb3f752e23f487245288f2c35b1e0bc343e07448cffbb5f56624"),
        Published("fashion-mnist", "81fce86bd021bc940d43ffa9151ab8b045905f0cf6cd83b50a76958a33d93df1"),
    )
}


def published(name: str) -> Published:
    """Return a published data set by name.

    Raises:
        UsageError: if there is no such data set.
    """
    if name not in PUBLISHED:
        raise UsageError(f"{name!r} is not a published data set: {nearest(name, PUBLISHED)}")
    return PUBLISHED[name]

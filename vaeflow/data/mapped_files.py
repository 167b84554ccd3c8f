"""Files that a run reads while it trains: whether they still have the bytes that were fingerprinted at the start."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class MappedFiles:
    """The files that arrays are mapped from, as they were at one time.

    A file that is replaced by another one of the same name is not changed: the old one stays mapped.

    Attributes:
        states: device, inode, size in bytes and time of the last write in nanoseconds, by path.
    """

    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, array: object) -> MappedFiles:
        """Return the file of an array that is mapped, or of the part of one, as it is now; none for other arrays."""
        return cls({path: state for path in _paths(array) if (state := _state(path))})

    def changed(self) -> str:
        """Return the path of a file that was written to since then; an empty text if there is none."""
        for path, before in self.states.items():
            now = _state(path)
            if now and now[:2] == before[:2] and now != before:
                return path
        return ""


def _paths(array: object) -> Iterator[str]:
    while array is not None:
        if isinstance(array, np.memmap) and array.filename is not None:
            yield str(array.filename)
            return
        array = getattr(array, "base", None)


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:  # it was removed: the mapped file stays as it is
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

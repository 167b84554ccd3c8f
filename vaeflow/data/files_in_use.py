"""Files that a run reads while it trains: whether they still have the bytes that were fingerprinted at the start."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.lazy import LazyRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class FilesInUse:
    """The files that arrays are read from, as they were at one time.

    A file that stays open and is replaced by another one of the same name is not changed: the old one is still read.

    Attributes:
        states: device, inode, size in bytes and time of the last write in nanoseconds, by path.
        opened_again: the paths of those that each reading opens by their names.
    """

    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    opened_again: frozenset[str] = frozenset()

    @classmethod
    def of(cls, array: object) -> FilesInUse:
        """Return the files of an array that is mapped, of `LazyRows`, or of a part, as they are now; else none."""
        found = dict(_files(array))
        states = {path: state for path in found if (state := _state(path))}
        return cls(states, frozenset(path for path, again in found.items() if again))

    def changed(self) -> str:
        """Return the path of a file that was written to since then; an empty text if there is none."""
        for path, before in self.states.items():
            now = _state(path)
            replaced = not now or now[:2] != before[:2]
            if path in self.opened_again if replaced else now != before:
                return path
        return ""


def _files(array: object) -> Iterator[tuple[str, bool]]:
    """Yield the paths of an array's files, each with whether it is opened again when it is read."""
    if isinstance(array, LazyRows):
        for path in array.files:
            yield str(path), array.opens_again
        for part in array.sources:
            yield from _files(part)
        return
    while array is not None:
        if isinstance(array, np.memmap) and array.filename is not None:
            yield str(array.filename), False
            return
        array = getattr(array, "base", None)


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:  # it was removed
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

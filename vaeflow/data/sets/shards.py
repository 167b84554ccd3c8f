"""Arrays that several .npy files of a folder have together, named `x_train-00000-of-00004.npy` and so on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.checks import Named
from vaeflow.data.sets.lazy import Shards
from vaeflow.data.sets.npy import open_large_npy
from vaeflow.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.contracts import LazyArray

SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{1,9})-of-(?P<count>\d{1,9})")


def joined(folder: Path, files: Sequence[Path]) -> dict[str, Named]:
    """Return the arrays of a folder's shards by name.

    Args:
        folder: has the files.
        files: those whose names are like `SHARD`.

    Raises:
        DataError: if a shard is missing or corrupt, there are two with one number, or they differ in type or shape.
    """
    by_name: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for file in files:
        found = SHARD.fullmatch(file.stem)
        assert found
        name, number, count = found["name"], int(found["number"]), int(found["count"])
        if count != counts.setdefault(name, count):
            raise DataError(f"{file}: other shards of {name} are of {counts[name]}")
        if by_name.setdefault(name, {}).setdefault(number, file) != file:
            raise DataError(f"{file}: it has the number of {by_name[name][number].name}")
    return {name: _named(folder, name, shards, counts[name]) for name, shards in by_name.items()}


def _named(folder: Path, name: str, shards: dict[int, Path], count: int) -> Named:
    missing = sorted(set(range(count)) - set(shards))
    if missing or len(shards) != count:
        which = f"number {missing[0]} is missing" if missing else f"their numbers must be 0 to {count - 1}"
        raise DataError(f"{folder}: {name} has {len(shards)} of {count} shards: {which}")
    parts = [open_large_npy(shards[number], mapped_bytes=0) for number in range(count)]
    for number, part in enumerate(parts):
        _require_alike(shards[number], part, parts[0])
    return Named(
        Shards(parts) if len(parts[0].shape) > 1 else np.concatenate([part[:] for part in parts]), f"{folder}: {name}"
    )


def _require_alike(file: Path, part: np.ndarray | LazyArray, first: np.ndarray | LazyArray) -> None:
    if not part.shape or 0 in part.shape:
        raise DataError(f"{file}: the shard is empty, its shape is {part.shape}")
    if (part.dtype, part.shape[1:]) != (first.dtype, first.shape[1:]):
        found, wanted = (f"{one.dtype} {one.shape[1:]}" for one in (part, first))
        raise DataError(f"{file}: an example is {found}, but in the first shard {wanted}")

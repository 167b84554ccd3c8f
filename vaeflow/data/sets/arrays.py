"""Read a user's arrays: a .npz file, a .npy file, or a folder of .npy files, which may be shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.checks import Named, checked_split
from vaeflow.data.sets.npy import open_large_npy, open_large_npz
from vaeflow.data.sets.shards import SHARD, joined
from vaeflow.errors import DataError, nearest

if TYPE_CHECKING:
    from pathlib import Path

SPLITS = ("train", "validation", "test")
NAMES = tuple(f"{axis}_{split}" for split in SPLITS for axis in "xy")


def open_arrays(path: Path, labels: Path | None, *, check: bool) -> Dataset:
    """Return the splits of a user's arrays.

    Args:
        path: a .npz file or a folder of .npy files with arrays named as in `NAMES`, or one .npy file with training
            examples. In a folder an array may have shards, `x_train-00000-of-00004.npy` and so on.
        labels: a .npy file with the labels of a single .npy file, or None.
        check: whether to check every pixel.

    Raises:
        DataError: if a file is missing or corrupt, or its arrays cannot be used for training.
    """
    if path.suffix == ".npy":
        found = {"x_train": Named(open_large_npy(path), str(path))}
        if labels:
            found["y_train"] = Named(open_large_npy(labels), str(labels))
    elif labels:
        raise DataError(
            f"labels={labels}: this option is only for a single .npy file; in {path} labels must be named y_train"
        )
    else:
        found = _named(path)
    if "x_train" not in found:
        raise DataError(f"{path}: no array 'x_train'; available: {', '.join(sorted(found)) or 'none'}")
    train, validation, test = (_split(found, name, check=check) for name in SPLITS)
    assert train is not None
    return Dataset("arrays", train, validation, test, str(path))


def _named(path: Path) -> dict[str, Named]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix == ".npy")
        found = {file.stem: Named(open_large_npy(file), str(file)) for file in files if not SHARD.fullmatch(file.stem)}
        shards = joined(path, [file for file in files if SHARD.fullmatch(file.stem)])
        if twice := sorted(found.keys() & shards.keys()):
            raise DataError(f"{path}: {twice[0]} is one file and has shards, too")
        found |= shards
    elif path.suffix == ".npz" or not path.exists():
        found = {name: Named(array, f"{path}: {name}") for name, array in open_large_npz(path).items()}
    else:
        raise DataError(f"{path}: not a .npz file, a .npy file or a folder of .npy files")
    for name in found:
        if name.startswith(("x_", "y_")) and name not in NAMES:
            raise DataError(f"{path}: unknown array {name!r}; {nearest(name, NAMES)}")
    return found


def _split(found: dict[str, Named], split: str, *, check: bool) -> Split | None:
    x, y = found.get(f"x_{split}"), found.get(f"y_{split}")
    if x is not None:
        return checked_split(x, y, pixels=check)
    if y is not None:
        raise DataError(f"{y.where}: labels without examples; x_{split} is missing")
    return None

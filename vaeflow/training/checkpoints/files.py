"""The files of one checkpoint: arrays in the safetensors format, text files, and a manifest of checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from vaeflow.engine.state import sha256_of
from vaeflow.errors import FileError, VaeflowError
from vaeflow.files.read import (
    DIRECTORY,
    LARGE,
    REGULAR,
    kind_of,
    open_regular,
    parse_json,
    parse_toml,
    read_json,
    read_text,
)
from vaeflow.files.write import named, sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
STATE = "state.safetensors"
EARLIER = "state.index"  # of checkpoints in TensorFlow's format
ARRAYS = "arrays_sha256"  # the key of the manifest
MOST_FILES = 100
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write(folder: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write a checkpoint's files and wait until they are on the disk.

    Args:
        folder: an existing, empty folder.
        arrays: by name.
        texts: the other files' contents by file name.

    Raises:
        OSError: if writing fails.
        VaeflowError: if an array has a type that the format does not support, or a text is too long to be read again.
    """
    with named(folder / STATE):
        (folder / STATE).write_bytes(_serialized(arrays))
    for name, text in texts.items():
        if len(text.encode()) > LARGE:
            raise VaeflowError(
                f"the checkpoint {folder} could not be written: {name} would have more than {LARGE} bytes"
            )
        _write_text(folder / name, text)
    paths = sorted(folder.iterdir())
    manifest = {
        "sha256": {path.name: _sha256(path) for path in paths},
        "bytes": {path.name: path.stat().st_size for path in paths},
        ARRAYS: _sha256_of(arrays),
    }
    _write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint that `require_valid` has passed.

    Raises:
        FileError: if they can't be read, or differ from those that were saved.
    """
    with open_regular(folder / STATE) as file:
        content = file.read()
    try:
        arrays = safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # a type that numpy does not have is a KeyError
        raise FileError(f"{STATE} can't be read ({error})") from error
    if _sha256_of(arrays) != read_json(folder / MANIFEST).get(ARRAYS):
        raise FileError(f"the arrays in {STATE} differ from those that were saved")
    return arrays


def require_valid(folder: Path, required: Iterable[str]) -> None:
    """Check that a checkpoint has exactly the files that its manifest lists, as they were written.

    Args:
        folder: the checkpoint.
        required: files that must be there, in addition to the arrays.

    Raises:
        FileError: if not; the message is about the first problem.
    """
    there = _files_in(folder)
    sums, sizes = _read_manifest(folder)
    if EARLIER in sums:
        raise FileError("its arrays are in TensorFlow's format, which earlier versions of vaeflow saved")
    if any(name not in sums for name in (*required, STATE)):
        raise FileError(f"{MANIFEST} is incomplete")
    for name in sums:
        if name not in there:
            raise FileError(f"{name} is missing")
    unlisted = sorted(there.keys() - sums.keys() - {MANIFEST})
    if unlisted:
        raise FileError(f"{unlisted[0]!r} is not in {MANIFEST}")
    for name, size in sizes.items():  # check sizes before reading: a file may be huge
        if there[name] != size:
            raise FileError(f"{name} has {there[name]} bytes, not {size}")
    for name, digest in sums.items():
        if _sha256(folder / name) != digest:
            raise FileError(f"{name} has a wrong checksum")


def require_texts(folder: Path) -> None:
    """Check that the JSON and TOML files of a checkpoint can be read.

    Raises:
        FileError: if one can't.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            parse_json(read_text(path, limit=LARGE), path.name, finite=False)
        elif path.suffix == ".toml":
            parse_toml(read_text(path), path.name)


def _files_in(folder: Path) -> dict[str, int]:
    """Return the sizes of the files of a checkpoint by name; all must be regular ones."""
    found = kind_of(folder)
    if found != DIRECTORY:
        raise FileError(f"it is {found}, not {DIRECTORY}" if found else "it is missing")
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, MOST_FILES + 1)]
    if len(names) > MOST_FILES:
        raise FileError(f"it has more than {MOST_FILES} files")
    for name in names:
        kind = kind_of(folder / name)
        if kind != REGULAR:
            raise FileError(f"{name!r} is {kind}, not {REGULAR}" if kind else f"{name!r} is gone")
    return {name: (folder / name).stat(follow_symlinks=False).st_size for name in names}


def _read_manifest(folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Return the checksums and the sizes that a manifest lists, by file name."""
    if kind_of(folder / MANIFEST) is None:
        raise FileError(f"{MANIFEST} is missing")
    try:
        content = read_json(folder / MANIFEST)
    except FileError:
        raise FileError(f"{MANIFEST} can't be read") from None
    sums, sizes = content.get("sha256"), content.get("bytes")
    if not isinstance(sums, dict) or not isinstance(sizes, dict) or sizes.keys() != sums.keys():
        raise FileError(f"{MANIFEST} is incomplete")
    for name, digest in sums.items():
        if not _NAME.fullmatch(name) or name == MANIFEST or not _is_sha256(digest):
            raise FileError(f"{MANIFEST} can't be used: {name[:99]!r} is not a plain file name with its SHA-256")
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes.values()):
        raise FileError(f"{MANIFEST} can't be used: a size is not a whole number")
    return sums, sizes


def _is_sha256(digest: object) -> bool:
    return isinstance(digest, str) and _SHA256.fullmatch(digest) is not None


def _write_text(path: Path, text: str) -> None:
    with named(path):
        path.write_text(text, encoding="utf-8")


def _serialized(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as a file's content: the same bytes for the same arrays."""
    dense = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    for name, array in dense.items():
        if array.dtype.isbuiltin != 1:  # not NumPy's own, which alone can be read again
            raise VaeflowError(f"{name} can't be saved: a checkpoint has no arrays of {array.dtype}")
    try:
        return safetensors.numpy.save(dense)
    except SafetensorError as error:
        raise VaeflowError(f"the arrays can't be saved: {error}") from error


def _sha256_of(arrays: Mapping[str, np.ndarray]) -> str:
    return sha256_of(sorted((name, np.asarray(array)) for name, array in arrays.items()))


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

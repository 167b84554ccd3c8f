"""The files of one checkpoint: arrays in TensorFlow's format, what belongs to them, and a manifest of checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.errors import FileError, VaeflowError
from vaeflow.files import DIRECTORY, LARGE, REGULAR, kind_of, open_regular, parse_json, parse_toml, read_json, read_text
from vaeflow.partials import named, sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
STATE = "state"  # the prefix of TensorFlow's files
INDEX = f"{STATE}.index"
DATA = re.compile(rf"{STATE}\.data-\d{{5}}-of-\d{{5}}")
MOST_FILES = 100
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write(folder: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write a checkpoint's files and wait until they are on the disk.

    Args:
        folder: where; it is there and empty.
        arrays: by name.
        texts: the other files' contents by file name.

    Raises:
        OSError: if the disk refuses.
        VaeflowError: if it refuses TensorFlow, or a text is too long to be read again.
    """
    _write_arrays(folder / STATE, arrays)
    for name, text in texts.items():
        if len(text.encode()) > LARGE:
            raise VaeflowError(
                f"the checkpoint {folder} could not be written: {name} would have more than {LARGE} bytes"
            )
        _write_text(folder / name, text)
    paths = sorted(folder.iterdir())
    manifest = {"sha256": {p.name: _sha256(p) for p in paths}, "bytes": {p.name: p.stat().st_size for p in paths}}
    _write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint that `require_valid` has passed.

    Raises:
        FileError: if TensorFlow can't read them.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # TensorFlow takes [, *, ? in a path for a pattern, and this path has none of them.
        reader = tf.train.load_checkpoint(f"/proc/self/fd/{descriptor}/{STATE}")
        arrays = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow's own, and whatever Python makes of what it finds
        raise FileError(f"{folder / STATE}: TensorFlow can't read it ({_reason(str(error))})") from error
    finally:
        os.close(descriptor)
    texts = sorted(name for name, array in arrays.items() if np.asarray(array).dtype.hasobject)
    if texts:
        raise FileError(f"{folder / STATE}: {texts[0]!r} is no array of numbers")
    return arrays


def require_valid(folder: Path, required: Iterable[str]) -> None:
    """Check that a checkpoint has exactly the files that its manifest lists, as they were written.

    Args:
        folder: the checkpoint.
        required: files without which it is none, beside TensorFlow's.

    Raises:
        FileError: if not; the message is about the first thing that is wrong.
    """
    there = _files_in(folder)
    sums, sizes = _read_manifest(folder)
    lacking = next((name for name in (*required, INDEX) if name not in sums), None)
    if lacking is not None or not any(map(DATA.fullmatch, sums)):
        raise FileError(f"{MANIFEST} is incomplete")
    for name in sums:
        if name not in there:
            raise FileError(f"{name} is missing")
    strange = sorted(there.keys() - sums.keys() - {MANIFEST})
    if strange:
        raise FileError(f"{strange[0]!r} is not in {MANIFEST}")
    for name, size in sizes.items():  # before any is read: one may be huge
        if there[name] != size:
            raise FileError(f"{name} has {there[name]} bytes, not {size}")
    for name, digest in sums.items():
        if _sha256(folder / name) != digest:
            raise FileError(f"{name} has another checksum")


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
    """Return the checksums and the sizes that a manifest lists, by file name; older ones list no sizes."""
    if kind_of(folder / MANIFEST) is None:
        raise FileError(f"{MANIFEST} is missing")
    try:
        content = read_json(folder / MANIFEST)
    except FileError:
        raise FileError(f"{MANIFEST} can't be read") from None
    sums, sizes = content.get("sha256"), content.get("bytes", {})
    if not isinstance(sums, dict) or not isinstance(sizes, dict) or (sizes and sizes.keys() != sums.keys()):
        raise FileError(f"{MANIFEST} is incomplete")
    for name, digest in sums.items():
        if not _NAME.fullmatch(name) or name == MANIFEST or not _is_sha256(digest):
            raise FileError(f"{MANIFEST} can't be used: {name[:99]!r} is no plain file name with its SHA-256")
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes.values()):
        raise FileError(f"{MANIFEST} can't be used: a size is no whole number")
    return sums, sizes


def _is_sha256(digest: object) -> bool:
    return isinstance(digest, str) and _SHA256.fullmatch(digest) is not None


def _write_text(path: Path, text: str) -> None:
    with named(path):
        path.write_text(text, encoding="utf-8")


def _write_arrays(prefix: Path, arrays: Mapping[str, np.ndarray]) -> None:
    try:
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(arrays),
            shape_and_slices=[""] * len(arrays),
            tensors=[tf.constant(a) for a in arrays.values()],
        )
    except tf.errors.OpError as error:  # TensorFlow's own class for a full disk and the like
        raise VaeflowError(f"the checkpoint {prefix.parent} could not be written: {_reason(error.message)}") from error


def _reason(message: str) -> str:
    """Return what TensorFlow says, without the graph's names."""
    return " ".join(re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", message).split())


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The files of one checkpoint: arrays in TensorFlow's format, what belongs to them, and a manifest of checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np

MANIFEST = "manifest.json"
STATE = "state"  # the prefix of TensorFlow's files


def write(folder: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write a checkpoint's files and wait until they are on the disk.

    Args:
        folder: where; it is there and empty.
        arrays: by name.
        texts: the other files' contents by file name.

    Raises:
        OSError: if the disk refuses.
        VaeflowError: if it refuses TensorFlow.
    """
    _write_arrays(folder / STATE, arrays)
    for name, text in texts.items():
        _write_text(folder / name, text)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    _write_text(folder / MANIFEST, json.dumps({"sha256": files}, indent=1))
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint that is whole."""
    reader = tf.train.load_checkpoint(str(folder / STATE))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def damage(folder: Path, required: str) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    Args:
        folder: the checkpoint.
        required: a file without which its manifest is incomplete.
    """
    try:
        expected = json.loads((folder / MANIFEST).read_text())["sha256"]
        if not isinstance(expected, dict) or required not in expected:
            return f"{MANIFEST} is incomplete"
        wrong = [name for name, digest in expected.items() if _sha256(folder / name) != digest]
    except FileNotFoundError as error:
        return f"{os.path.basename(error.filename)} is missing"  # noqa: PTH119
    except OSError as error:
        return str(error.strerror)
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} can't be read"
    return f"{wrong[0]} has another checksum" if wrong else None


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_text(path: Path, text: str) -> None:
    with _named(path):
        path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have the system's errors name a file; those of writing and syncing do not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_arrays(prefix: Path, arrays: Mapping[str, np.ndarray]) -> None:
    try:
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(arrays),
            shape_and_slices=[""] * len(arrays),
            tensors=[tf.constant(a) for a in arrays.values()],
        )
    except tf.errors.OpError as error:  # TensorFlow's own class for a full disk and the like
        reason = re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", error.message).strip()  # without the graph's names
        raise VaeflowError(f"the checkpoint {prefix.parent} could not be written: {reason}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

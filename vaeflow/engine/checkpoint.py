"""Checkpoints that are whole or not there: written aside, checksummed, synced, renamed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import CheckpointError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

MANIFEST = "manifest.json"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a run is; the position in the data follows from it.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far, over all processes that continued the run.
        window: sums of the log rows since the last log point, so that a resumed run logs the same rows.
        window_seconds: time that the window's steps took.
        metrics: the newest training and evaluation metrics by name.
    """

    step: int = 0
    seconds: float = 0.0
    window: list[float] = field(default_factory=list)
    window_seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one run, newest last.

    Args:
        folder: where they are; made when the first is saved.
        keep: how many of the newest stay.
        say: prints one line for people.
    """

    def __init__(self, folder: Path, *, keep: int, say: Callable[[str], None]) -> None:
        self._folder, self._keep, self._say = folder, keep, say

    def save(self, arrays: dict[str, np.ndarray], progress: Progress) -> None:
        """Write a checkpoint; it appears under its name once all of it is on the disk.

        Args:
            arrays: the training state.
            progress: how far the run is.

        Raises:
            OSError: if the disk refuses; earlier checkpoints are untouched.
        """
        final = self._folder / f"step-{progress.step:09d}"
        aside = self._folder / f".{final.name}.{os.getpid()}.partial"
        aside.mkdir(parents=True)
        try:
            _write_arrays(aside / "state", arrays)
            (aside / PROGRESS).write_text(json.dumps(dataclasses.asdict(progress)))
            _write_manifest(aside)
            shutil.rmtree(final, ignore_errors=True)  # damaged, and named when it was found
            aside.rename(final)
            _sync(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._prune()

    def latest(self) -> tuple[dict[str, np.ndarray], Progress]:
        """Return the newest checkpoint that is whole; a damaged newer one is named in a line.

        Raises:
            CheckpointError: if there is none.
        """
        found = self._all()
        for path in reversed(found):
            damage = _damage(path)
            if damage is None:
                progress = Progress(**json.loads((path / PROGRESS).read_text()))
                return _read_arrays(path / "state"), progress
            self._say(f"warning: checkpoint {path} is damaged ({damage}); the one before it is tried")
        what = "every checkpoint is damaged" if found else "there is no checkpoint"
        raise CheckpointError(f"{self._folder}: {what}; nothing was changed. Start again in another directory")

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for partial in self._folder.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _prune(self) -> None:
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old)


def _write_arrays(prefix: Path, arrays: dict[str, np.ndarray]) -> None:
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


def _read_arrays(prefix: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _write_manifest(folder: Path) -> None:
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"sha256": files}, indent=1))
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())["sha256"]
        if not isinstance(expected, dict) or PROGRESS not in expected:
            return f"{MANIFEST} is incomplete"
        wrong = [name for name, digest in expected.items() if _sha256(folder / name) != digest]
    except FileNotFoundError as error:
        return f"{os.path.basename(error.filename)} is missing"  # noqa: PTH119
    except OSError as error:
        return str(error.strerror)
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} can't be read"
    return f"{wrong[0]} has another checksum" if wrong else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

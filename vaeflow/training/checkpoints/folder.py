"""The folder of checkpoints. Each is written to a temporary name, checksummed, synced and renamed."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import CheckpointError, FileError, UsageError, VaeflowError
from vaeflow.files.read import DIRECTORY, LARGE, kind_of, read_text
from vaeflow.files.write import remove, sync, written_aside
from vaeflow.training.checkpoints import files as checkpoint_files
from vaeflow.training.checkpoints.progress import Best, Progress
from vaeflow.training.run_files.names import CHECKPOINT, CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["CONFIG", "PROGRESS", "Best", "CheckpointFolder", "Progress"]

PROGRESS = "progress.json"
DUE = "-due"  # suffix of a checkpoint whose evaluation was not done yet
NO_CONFIG: Mapping[str, str] = MappingProxyType({CONFIG: ""})


class CheckpointFolder:
    """The checkpoints of one run, newest last.

    Args:
        folder: of the checkpoints; created when the first one is saved.
        keep: number of newest checkpoints to keep.
        say: prints one line.
        texts: text files of each checkpoint by name, including `config.toml`.
        beside: a file of the run that must exist to save; it is missing if, for example, the disk was unmounted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        say: Callable[[str], None],
        texts: Mapping[str, str] = NO_CONFIG,
        beside: Path | None = None,
    ) -> None:
        self._folder, self._keep, self._say, self._texts = folder, keep, say, dict(texts)
        self._beside = beside

    def save(self, arrays: dict[str, np.ndarray], progress: Progress) -> None:
        """Write a checkpoint; it gets its name when all of it is on the disk.

        Args:
            arrays: the training state.
            progress: of the run.

        Raises:
            OSError: if writing fails; earlier checkpoints are unchanged.
            VaeflowError: if an array has an unsupported type, or the progress could not be read again.
        """
        if self._beside is not None:
            self._beside.stat()
        final = self._path_of(progress)
        if self._has(final, arrays):
            return  # a run that was resumed at an earlier step saves the same state again
        texts = {PROGRESS: _readable(progress), **self._texts}
        self._folder.mkdir(exist_ok=True)
        self._require_folder()
        sync(self._folder.parent)
        with written_aside(final) as aside:
            aside.mkdir()
            checkpoint_files.write(aside, arrays, texts)
            remove(final)  # corrupt, or of another run
        self._prune(progress)

    def latest(self) -> tuple[dict[str, np.ndarray], Progress]:
        """Return the newest valid checkpoint; print a warning for each corrupt newer one.

        Raises:
            CheckpointError: if no checkpoint is valid.
        """
        for found in self.valid():
            return found
        what = "every checkpoint is corrupt" if self._all() else "there is no checkpoint"
        raise CheckpointError(f"{self._folder}: {what}; nothing was changed. Start a new run in another directory")

    def valid(self) -> Iterator[tuple[dict[str, np.ndarray], Progress]]:
        """Yield the valid checkpoints, newest first; print a warning for each corrupt one."""
        for path in reversed(self._all()):
            try:
                found = _read(path)
            except FileError as error:
                self._say(f"warning: checkpoint {path} is corrupt ({error}); using the previous one")
            else:
                yield found

    def best(self) -> tuple[dict[str, np.ndarray], Progress]:
        """Return the best checkpoint according to the newest one.

        Raises:
            UsageError: if there is no best checkpoint.
            CheckpointError: if it is corrupt.
        """
        best = self.latest()[1].best
        if best is None:
            raise UsageError(
                f"{self._folder}: there is no best checkpoint: none was saved after an evaluation on a validation "
                "split, and no callback chose one. Train with dataset.validation=N (or your own arrays), or with "
                "a callback such as best-checkpoint"
            )
        try:
            return _read(self._path(best.step))
        except FileError as error:
            raise CheckpointError(f"the best checkpoint {self._path(best.step)} is corrupt ({error})") from error

    def text_of(self, progress: Progress, name: str) -> str | None:
        """Return a text file of a valid checkpoint; None if it has no such file."""
        path = self._path_of(progress) / name
        return None if kind_of(path) is None else read_text(path, limit=LARGE)

    def _has(self, final: Path, arrays: dict[str, np.ndarray]) -> bool:
        """Return whether a valid checkpoint of this state exists."""
        if kind_of(final) is None:
            return False
        try:
            there, _ = _read(final)
        except FileError:
            return False
        return there.keys() == arrays.keys() and all(_same(there[name], arrays[name]) for name in arrays)

    def _require_folder(self) -> None:
        kind = kind_of(self._folder)
        if kind not in (DIRECTORY, None):
            raise VaeflowError(f"{self._folder} is {kind}, not {DIRECTORY}")

    def _path(self, step: int, *, due: bool = False) -> Path:
        return self._folder / f"step-{step:09d}{DUE * due}"

    def _path_of(self, progress: Progress) -> Path:
        return self._path(progress.step, due=progress.evaluation_is_due)

    def _all(self) -> list[Path]:
        """Return all checkpoints, oldest first; the one of a step after its `-due` checkpoint."""
        self._require_folder()
        if not self._folder.exists():
            return []
        return sorted((path for path in self._folder.iterdir() if CHECKPOINT.fullmatch(path.name)), key=_age)

    def _prune(self, progress: Progress) -> None:
        """Remove old checkpoints. Newer ones than this are not counted: they are corrupt, since the run went back."""
        best = self._path(progress.best.step) if progress.best else None
        newest = _age(self._path_of(progress))
        for old in [path for path in self._all() if _age(path) <= newest][: -self._keep]:
            if old != best:
                remove(old)


def _read(path: Path) -> tuple[dict[str, np.ndarray], Progress]:
    """Return a checkpoint.

    Raises:
        FileError: if it is corrupt.
    """
    try:
        checkpoint_files.require_valid(path, (PROGRESS, CONFIG))
        progress = Progress.from_json(read_text(path / PROGRESS, limit=LARGE), PROGRESS)
        step, due = _age(path)
        if (progress.step, not progress.evaluation_is_due) != (step, due):
            raise FileError(f"{PROGRESS} is that of step {progress.step}{DUE * progress.evaluation_is_due}")
        checkpoint_files.require_texts(path)
        return checkpoint_files.read_arrays(path), progress
    except OSError as error:
        raise FileError(str(error.strerror)) from error


def _readable(progress: Progress) -> str:
    """Return the progress as JSON, and check that it can be read: plugins contribute to it."""
    text = progress.to_json()
    try:
        Progress.from_json(text)
    except FileError as error:
        raise VaeflowError(f"the progress can't be saved: {error}") from error
    return text


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())


def _age(path: Path) -> tuple[int, bool]:
    found = CHECKPOINT.fullmatch(path.name)
    if found is None:
        raise ValueError(f"{path.name} is not the name of a checkpoint")
    return int(found["step"]), found["due"] is None

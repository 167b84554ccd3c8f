"""Checkpoints that are whole or not there: written aside, checksummed, synced, renamed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.engine import checkpoint_files
from vaeflow.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

PROGRESS = "progress.json"
CONFIG = "config.toml"
DUE = "-due"  # ends the name of a checkpoint whose step's evaluation was not done


@dataclass(frozen=True)
class Best:
    """The checkpoint with the best value of a metric.

    Attributes:
        step: its step.
        value: of the metric.
        chosen: whether a callback chose it, by a metric of its own.
    """

    step: int
    value: float
    chosen: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a run is; the position in the data follows from it.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far, over all processes that continued the run.
        window: sums of the log rows since the last log point, so that a resumed run logs the same rows.
        window_seconds: time that the window's steps took.
        metrics: the newest training and evaluation metrics by name.
        best: the best checkpoint so far; it is never removed.
        skipped: steps skipped one after another up to this one.
        callbacks: what callbacks must know after a resume, in their order.
        stopped: why a callback ended the run; empty if none did.
        evaluation_is_due: whether the run was stopped in an evaluation, which a resumed run begins with.
    """

    step: int = 0
    seconds: float = 0.0
    window: list[float] = field(default_factory=list)
    window_seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    skipped: int = 0
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    evaluation_is_due: bool = False

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Return what `to_json` wrote.

        >>> Progress.from_json(Progress(7, best=Best(5, -100.0)).to_json()).best
        Best(step=5, value=-100.0, chosen=False)
        """
        content = json.loads(text)
        best = content.pop("best", None)
        return cls(**content, best=Best(**best) if best else None)


class CheckpointFolder:
    """The checkpoints of one run, newest last.

    Args:
        folder: where they are; made when the first is saved.
        keep: how many of the newest stay.
        config: the run's, as TOML; each checkpoint has a copy.
        say: prints one line for people.
        beside: a file of the run without which nothing is saved: where a disk was, there may be an empty folder now.
    """

    def __init__(
        self, folder: Path, *, keep: int, say: Callable[[str], None], config: str = "", beside: Path | None = None
    ) -> None:
        self._folder, self._keep, self._say, self._config = folder, keep, say, config
        self._beside = beside

    def save(self, arrays: dict[str, np.ndarray], progress: Progress) -> None:
        """Write a checkpoint; it appears under its name once all of it is on the disk.

        Args:
            arrays: the training state.
            progress: how far the run is.

        Raises:
            OSError: if the disk refuses; earlier checkpoints are untouched.
            VaeflowError: if it refuses TensorFlow.
        """
        if self._beside is not None:
            self._beside.stat()
        final = self._path_of(progress)
        if final.exists() and checkpoint_files.damage(final, PROGRESS) is None:
            return  # a run that goes on from an earlier step gets here with the same state
        aside = self._folder / f".{final.name}.{os.getpid()}.partial"
        self._folder.mkdir(exist_ok=True)
        checkpoint_files.sync(self._folder.parent)
        aside.mkdir()
        try:
            checkpoint_files.write(aside, arrays, {PROGRESS: progress.to_json(), CONFIG: self._config})
            shutil.rmtree(final, ignore_errors=True)  # damaged
            aside.rename(final)
            checkpoint_files.sync(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._prune(progress)

    def latest(self) -> tuple[dict[str, np.ndarray], Progress]:
        """Return the newest checkpoint that is whole; a damaged newer one is named in a line.

        Raises:
            CheckpointError: if there is none.
        """
        for found in self.whole():
            return found
        what = "every checkpoint is damaged" if self._all() else "there is no checkpoint"
        raise CheckpointError(f"{self._folder}: {what}; nothing was changed. Start again in another directory")

    def whole(self) -> Iterator[tuple[dict[str, np.ndarray], Progress]]:
        """Yield the checkpoints that are whole, newest first; a damaged one is named in a line."""
        for path in reversed(self._all()):
            damage = checkpoint_files.damage(path, PROGRESS)
            if damage is None:
                yield _read(path)
            else:
                self._say(f"warning: checkpoint {path} is damaged ({damage}); the one before it is tried")

    def best(self) -> tuple[dict[str, np.ndarray], Progress]:
        """Return the best checkpoint that the newest one knows of.

        Raises:
            UsageError: if there is none.
            CheckpointError: if it is damaged.
        """
        best = self.latest()[1].best
        if best is None:
            raise UsageError(
                f"{self._folder}: no checkpoint is the best: none was saved after an evaluation of a validation split, "
                "and no callback chose one. Train with dataset.validation=N (or validation arrays of your own), or "
                "with a callback that chooses, such as best-checkpoint"
            )
        damage = checkpoint_files.damage(self._path(best.step), PROGRESS)
        if damage is not None:
            raise CheckpointError(f"the best checkpoint {self._path(best.step)} is damaged ({damage})")
        return _read(self._path(best.step))

    def config_of(self, progress: Progress) -> str:
        """Return the config that a checkpoint was saved with."""
        return (self._path_of(progress) / CONFIG).read_text()

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for partial in self._folder.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)

    def _path(self, step: int, *, due: bool = False) -> Path:
        return self._folder / f"step-{step:09d}{DUE * due}"

    def _path_of(self, progress: Progress) -> Path:
        return self._path(progress.step, due=progress.evaluation_is_due)

    def _all(self) -> list[Path]:
        """Return them oldest first; a step's own after the one that was saved before its evaluation."""
        return sorted(self._folder.glob("step-*"), key=_age)

    def _prune(self, progress: Progress) -> None:
        """Remove old ones. Later ones do not count: the run went back behind them, for they are damaged."""
        best = self._path(progress.best.step) if progress.best else None
        newest = _age(self._path_of(progress))
        for old in [path for path in self._all() if _age(path) <= newest][: -self._keep]:
            if old != best:
                shutil.rmtree(old)


def _read(path: Path) -> tuple[dict[str, np.ndarray], Progress]:
    return checkpoint_files.read_arrays(path), Progress.from_json((path / PROGRESS).read_text())


def _age(path: Path) -> tuple[str, bool]:
    return path.name.removesuffix(DUE), not path.name.endswith(DUE)

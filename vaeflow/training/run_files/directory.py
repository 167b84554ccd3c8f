"""The directory of a run: its files and its lock."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.errors import CheckpointError, FileError, UsageError, VaeflowError
from vaeflow.files.read import DIRECTORY, LARGE, kind_of, read_json, read_text, read_toml
from vaeflow.files.write import write_json, write_text
from vaeflow.training.provenance.environment import environment, processor
from vaeflow.training.provenance.record import differences_of_trees
from vaeflow.training.run_files import names as run_layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.training.provenance.record import Provenance


class Begun(Enum):
    """The state of a run directory, by its files."""

    NOTHING = "only a lock and partial files: no run was started"
    UNTOUCHED = "a config and files that are written before the first checkpoint"
    TRAINED = "checkpoints"
    LOST = "files that training writes, but no checkpoint"
    OTHER = "not a run directory"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / run_layout.CONFIG

    @property
    def environment(self) -> Path:
        """Versions, devices and the commit."""
        return self.path / run_layout.ENVIRONMENT

    @property
    def summary(self) -> Path:
        """Final metrics; written when the run has ended."""
        return self.path / run_layout.SUMMARY

    @property
    def metrics(self) -> Path:
        """The log of metrics."""
        return self.path / run_layout.METRICS

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / run_layout.CHECKPOINTS

    @classmethod
    @contextlib.contextmanager
    def claimed(cls, wanted: Path | None, name: str, *, resume: bool) -> Iterator[tuple[RunDirectory, bool]]:
        """Lock a directory for a run, so that no other process writes there.

        Args:
            wanted: the directory that the user chose; None creates the next free `runs/NAME`, `runs/NAME-2` and so on.
            name: the recipe's name.
            resume: whether an existing run is resumed.

        Yields:
            The directory, and whether it contains a run.

        Raises:
            UsageError: if the directory contains something else or is in use.
            CheckpointError: if it contains a run whose checkpoints are missing.
            VaeflowError: if the directory can't be created.
        """
        try:
            directory = cls(_next_free(Path("runs"), name) if wanted is None else _made(wanted, resume=resume))
        except OSError as error:
            where = error.filename or wanted or "runs"
            raise VaeflowError(f"the run directory {where} can't be created: {error.strerror}") from error
        with directory.locked():
            yield directory, directory.has_run(resume=resume)  # another process may have started one meanwhile

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the directory of an existing run, after a check that its files are not links.

        Raises:
            UsageError: if it is not a run directory, or one of its files is a link or not a regular file.
            CheckpointError: if its checkpoints are missing.
        """
        directory = cls(path)
        if not path.is_dir():
            raise UsageError(f"{path} is not a run directory: it does not exist")
        begun = directory.begun()
        if begun in (Begun.NOTHING, Begun.OTHER):
            raise UsageError(f"{path} is not a run directory: it has no config.toml{directory._hint()}")
        run_layout.require_usual(path)
        if begun is Begun.LOST:
            raise CheckpointError(
                f"{path}: the checkpoints are missing, but {directory.trace()} shows that the run was trained; nothing "
                "was changed. Restore the checkpoints, or train in another directory"
            )
        return directory

    def begun(self) -> Begun:
        """Return the state of the run directory."""
        names = run_layout.used_names(self.path)
        if not names:
            return Begun.NOTHING
        if run_layout.CONFIG not in names:
            return Begun.OTHER
        if run_layout.has_checkpoint(self.path):
            return Begun.TRAINED
        return Begun.UNTOUCHED if run_layout.is_untouched(self.path) else Begun.LOST

    def has_run(self, *, resume: bool) -> bool:
        """Return whether the directory contains a run.

        Args:
            resume: whether an existing run is resumed.

        Raises:
            UsageError: if it contains something else, or a run and `resume` is not set.
            CheckpointError: if it contains a run whose checkpoints are missing.
        """
        if self.begun() is Begun.NOTHING:
            run_layout.require_usual(self.path)  # the lock may be a link
            return False
        if not resume:
            raise UsageError(
                f"--run-dir: {self.path} already exists, and a run is never overwritten: resume it by `vaeflow resume "
                f"{self.path}`, or choose another directory"
            )
        RunDirectory.open(self.path)
        return True

    def _hint(self) -> str:
        """Return a hint for a directory without config.toml."""
        if run_layout.has_checkpoint(self.path):
            return "; each checkpoint has a copy of it, which can be restored"
        return "; no run was started there: `vaeflow train` can use it" if self.begun() is Begun.NOTHING else ""

    def trace(self) -> str:
        """Return the name of a file that shows that the run was trained."""
        first = {run_layout.CONFIG, run_layout.ENVIRONMENT, run_layout.INIT}
        return next(name for name in run_layout.used_names(self.path) if name not in first)

    def untouched(self) -> bool:
        """Return whether the run was stopped before it saved or logged anything."""
        return self.begun() is Begun.UNTOUCHED

    def require_same(self, resolved: Resolved) -> None:
        """Raise a UsageError if the run has another config; `strategy` may differ."""
        for key, there, here in self._changes(resolved):
            if _stem(key) != "strategy":
                raise UsageError(
                    f"--resume: {self.path} contains another run: {key} is {there!r} there and {here!r} here; choose "
                    "another directory"
                )

    def _changes(self, resolved: Resolved) -> list[tuple[str, Any, Any]]:
        return differences_of_trees(read_toml(self.config), resolved.tree())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory while this job writes.

        Raises:
            UsageError: if another process has the lock, or the file system has no locks.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / run_layout.LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(
                f"{self.path} is in use by another process: wait for it, or use another directory"
            ) from None
        except NotImplementedError:  # some network file systems
            raise UsageError(f"{self.path} is on a file system without locks: use another") from None
        try:
            yield
        finally:
            lock.release()

    def describe(self, resolved: Resolved, strategy: Strategy, record: Provenance) -> None:
        """Write the config and the environment of a new run.

        Raises:
            OSError: if writing fails; the directory is then removed, since the run could not be resumed.
        """
        try:
            write_text(self.config, resolved.to_toml())
            write_json(self.environment, _environment(resolved, strategy, record))
        except OSError:
            with contextlib.suppress(OSError):
                for path in (self.config, self.environment, self.path / run_layout.LOCK):
                    path.unlink(missing_ok=True)
                self.path.rmdir()
            raise

    def describe_again(self, resolved: Resolved, strategy: Strategy, record: Provenance) -> None:
        """Write the environment of a run that was stopped before its first checkpoint and restarts.

        Raises:
            UsageError: if the config is incomplete; no checkpoint has a copy of it.
        """
        text = read_text(self.config)
        missing = next((key for key, there, _ in self._changes(resolved) if there is None), None)
        if missing is not None or not text.endswith("\n"):
            what = f"{missing} is missing" if missing else "its last line is truncated"
            raise UsageError(
                f"{self.config} is incomplete: {what}. Nothing was trained yet: remove {self.path} and start again"
            )
        write_json(self.environment, _environment(resolved, strategy, record))

    def origins(self) -> set[str]:
        """Return the origins of the run's components, such as `vaeflow-flows 0.1.0`; empty if they can't be read."""
        try:
            components = read_json(self.environment, limit=LARGE).get("components")
        except FileError:
            return set()
        return {one for one in components.values() if isinstance(one, str)} if isinstance(components, dict) else set()

    def describe_resumed(
        self, resolved: Resolved, strategy: Strategy, record: Provenance, step: int, changes: Sequence[str]
    ) -> str:
        """Write the environment in which a run is resumed at a step, and the changes so far.

        Returns:
            Why the run's original environment can't be read; an empty text if it can.
        """
        content = {**_environment(resolved, strategy, record), "changes": list(changes)}
        write_json(self.path / f"environment-{step:09d}.json", content)
        try:
            read_json(self.environment, limit=LARGE)
        except FileError as error:
            return str(error)
        return ""


def _environment(resolved: Resolved, strategy: Strategy, record: Provenance) -> dict[str, Any]:
    return {**environment(resolved, strategy), "processor": processor(), "code": record.code, "data": record.data}


def _stem(key: str) -> str:
    return key.partition(".")[0]


def require_free(wanted: Path, *, resume: bool = False) -> None:
    """Check that a directory can be used for a run, before anything is written there.

    Args:
        wanted: the directory; it need not exist.
        resume: whether an existing run is resumed.

    Raises:
        UsageError: if it contains something else, or a run and `resume` is not set.
        CheckpointError: if it contains a run whose checkpoints are missing.
    """
    kind = kind_of(wanted, follow=True)
    if kind not in (DIRECTORY, None):
        raise UsageError(f"--run-dir: {wanted} already exists and is {kind}: choose another directory")
    if kind is not None:
        RunDirectory(wanted).has_run(resume=resume)


def _made(wanted: Path, *, resume: bool) -> Path:
    require_free(wanted, resume=resume)
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


def _next_free(folder: Path, name: str) -> Path:
    """Create the first of `NAME`, `NAME-2` and so on that is free, also if other processes do the same."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
        number += 1

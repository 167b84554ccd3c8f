"""What a run leaves on the disk, and who may write it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.config.resolve import tree_of
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
    """How far a directory's run is, by what is there."""

    NOTHING = "nothing but a lock and partial files: no run has begun"
    UNTOUCHED = "a config, and what is written before the first checkpoint: its state is still the config's"
    TRAINED = "checkpoints"
    LOST = "what training leaves, and no checkpoint"
    OTHER = "no run's"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The config as resolved."""
        return self.path / run_layout.CONFIG

    @property
    def environment(self) -> Path:
        """Versions, devices and the commit."""
        return self.path / run_layout.ENVIRONMENT

    @property
    def summary(self) -> Path:
        """Final figures; there once the run has ended."""
        return self.path / run_layout.SUMMARY

    @property
    def metrics(self) -> Path:
        """The log's rows."""
        return self.path / run_layout.METRICS

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / run_layout.CHECKPOINTS

    @classmethod
    @contextlib.contextmanager
    def claimed(cls, wanted: Path | None, name: str, *, resume: bool) -> Iterator[tuple[RunDirectory, bool]]:
        """Hold a directory for a run, so that no other process writes there.

        Args:
            wanted: where the user wants it; None takes the next free `runs/NAME`, `runs/NAME-2` and so on.
            name: the recipe's name.
            resume: whether a run that is there already is resumed.

        Yields:
            The directory, and whether it has a run; if not, nothing has begun there.

        Raises:
            UsageError: if the directory holds something else or is in use.
            CheckpointError: if it has a run whose checkpoints are gone.
            VaeflowError: if the disk refuses.
        """
        try:
            directory = cls(_next_free(Path("runs"), name) if wanted is None else _made(wanted, resume=resume))
        except OSError as error:
            where = error.filename or wanted or "runs"
            raise VaeflowError(f"the run directory {where} can't be made: {error.strerror}") from error
        with directory.locked():
            yield directory, directory.has_run(resume=resume)  # another process may have begun one meanwhile

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the directory of a run that exists. Nothing in it leads out of it.

        Raises:
            UsageError: if it is none, or one of its names is that of a link or the like.
            CheckpointError: if its checkpoints are gone.
        """
        directory = cls(path)
        if not path.is_dir():
            raise UsageError(f"{path} is no run directory: it does not exist")
        begun = directory.begun()
        if begun in (Begun.NOTHING, Begun.OTHER):
            raise UsageError(f"{path} is no run directory: it has no config.toml{directory._hint()}")
        run_layout.require_usual(path)
        if begun is Begun.LOST:
            raise CheckpointError(
                f"{path}: the checkpoints are missing, but the run was trained: {directory.trace()} is there; nothing "
                "was changed. Put the checkpoints back, or train in another directory"
            )
        return directory

    def begun(self) -> Begun:
        """Say how far the directory's run is: the one rule of what it means that nothing has begun."""
        names = run_layout.used_names(self.path)
        if not names:
            return Begun.NOTHING
        if run_layout.CONFIG not in names:
            return Begun.OTHER
        if run_layout.has_checkpoint(self.path):
            return Begun.TRAINED
        return Begun.UNTOUCHED if run_layout.is_untouched(self.path) else Begun.LOST

    def has_run(self, *, resume: bool) -> bool:
        """Say whether a run is there; False if nothing has begun.

        Args:
            resume: whether it is resumed then.

        Raises:
            UsageError: if something else is there, or a run that is not resumed.
            CheckpointError: if it has a run whose checkpoints are gone.
        """
        if self.begun() is Begun.NOTHING:
            run_layout.require_usual(self.path)  # the lock may be a link
            return False
        if not resume:
            raise UsageError(
                f"--run-dir: {self.path} exists already; a run is never overwritten: `vaeflow resume {self.path}` goes "
                "on with it, or name another"
            )
        RunDirectory.open(self.path)
        return True

    def _hint(self) -> str:
        """Return what can be done where there is no config.toml."""
        if run_layout.has_checkpoint(self.path):
            return "; each checkpoint has a copy of it, which can be put back"
        return "; nothing has begun there: `vaeflow train` can begin in it" if self.begun() is Begun.NOTHING else ""

    def trace(self) -> str:
        """Return a name that shows that a run was trained."""
        first = {run_layout.CONFIG, run_layout.ENVIRONMENT, run_layout.INIT}
        return next(name for name in run_layout.used_names(self.path) if name not in first)

    def untouched(self) -> bool:
        """Say whether the run was stopped before it saved or logged anything: its state is still the config's."""
        return self.begun() is Begun.UNTOUCHED

    def require_same(self, resolved: Resolved) -> None:
        """Raise a UsageError if the run's config is another one; how replicas are run does not count."""
        for key, there, here in self._changes(resolved):
            if _stem(key) != "strategy":
                raise UsageError(
                    f"--resume: {self.path} has another run: {key} is {there!r} there and {here!r} here; name another "
                    "directory"
                )

    def _changes(self, resolved: Resolved) -> list[tuple[str, Any, Any]]:
        return differences_of_trees(read_toml(self.config), tree_of(resolved.config))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out while this one writes.

        Raises:
            UsageError: if another process holds the run, or its file system has no locks.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / run_layout.LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(f"{self.path} is in use by another process: wait for it, or train elsewhere") from None
        except NotImplementedError:  # some network file systems
            raise UsageError(f"{self.path} is on a file system without locks: use another") from None
        try:
            yield
        finally:
            lock.release()

    def describe(self, resolved: Resolved, strategy: Strategy, record: Provenance) -> None:
        """Write the config and the environment of a run that begins.

        Raises:
            OSError: if the disk refuses; nothing is left then, since nothing could be resumed.
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
        """Write the environment of a run that was stopped before its first checkpoint, and that begins again.

        Raises:
            UsageError: if the config is not all there: no checkpoint has another copy of it.
        """
        text = read_text(self.config)
        missing = next((key for key, there, _ in self._changes(resolved) if there is None), None)
        if missing is not None or not text.endswith("\n"):
            what = f"{missing} is missing" if missing else "its last line is cut"
            raise UsageError(
                f"{self.config} is incomplete: {what}. Nothing was trained yet: remove {self.path} and begin anew"
            )
        write_json(self.environment, _environment(resolved, strategy, record))

    def origins(self) -> set[str]:
        """Return where the components of the run were from, `vaeflow-flows 0.1.0`; nothing if that can't be read."""
        try:
            components = read_json(self.environment, limit=LARGE).get("components")
        except FileError:
            return set()
        return {one for one in components.values() if isinstance(one, str)} if isinstance(components, dict) else set()

    def describe_resumed(
        self, resolved: Resolved, strategy: Strategy, record: Provenance, step: int, changes: Sequence[str]
    ) -> str:
        """Write the environment that a run is resumed in at a step, and what has changed by then, in words.

        Returns:
            Why what the run began with can't be read; an empty text if it can.
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
    """Check that a run can begin in a directory, before anything is written there.

    Args:
        wanted: the directory; it need not be there.
        resume: whether a run that is there already is resumed.

    Raises:
        UsageError: if something else is there, or a run that is not resumed.
        CheckpointError: if it has a run whose checkpoints are gone.
    """
    kind = kind_of(wanted, follow=True)
    if kind not in (DIRECTORY, None):
        raise UsageError(f"--run-dir: {wanted} exists already, and is {kind}: name another")
    if kind is not None:
        RunDirectory(wanted).has_run(resume=resume)


def _made(wanted: Path, *, resume: bool) -> Path:
    require_free(wanted, resume=resume)
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


def _next_free(folder: Path, name: str) -> Path:
    """Make the first of `NAME`, `NAME-2` and so on that is free; another process may be looking for one too."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
        number += 1

"""What a run leaves on the disk, and who may write it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.errors import UsageError, VaeflowError
from vaeflow.provenance.environment import environment, processor
from vaeflow.provenance.record import differences_of_trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.config_resolve import Resolved
    from vaeflow.engine.strategies.base import Strategy
    from vaeflow.provenance.record import Provenance


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
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, devices and the commit."""
        return self.path / "environment.json"

    @property
    def summary(self) -> Path:
        """Final figures; there once the run has ended."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @classmethod
    def create(cls, wanted: Path | None, name: str) -> RunDirectory:
        """Make a directory that no run has used.

        Args:
            wanted: where the user wants it; None takes the next free `runs/NAME`, `runs/NAME-2` and so on.
            name: the recipe's name.

        Raises:
            UsageError: if the wanted directory holds something already.
            VaeflowError: if the disk refuses.
        """
        try:
            return cls(_made(wanted) if wanted is not None else _next_free(Path("runs"), name))
        except OSError as error:
            where = error.filename or wanted or "runs"
            raise VaeflowError(f"the run directory {where} can't be made: {error.strerror}") from error

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the directory of a run that exists.

        Raises:
            UsageError: if it is none.
        """
        directory = cls(path)
        if not directory.config.is_file():
            what = "has no config.toml" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} is no run directory: it {what}")
        return directory

    def untouched(self) -> bool:
        """Say whether the run was stopped before it saved or logged anything: its state is still the config's."""
        return not (self.path / "metrics.jsonl").exists() and not any(self.checkpoints.glob("step-*"))

    def require_same(self, resolved: Resolved) -> None:
        """Raise a UsageError if the run's config is another one; how replicas are run does not count."""
        for key, there, here in differences_of_trees(
            tomllib.loads(self.config.read_text()), tomllib.loads(resolved.to_toml())
        ):
            if _stem(key) != "strategy":
                raise UsageError(
                    f"--resume: {self.path} has another run: {key} is {there!r} there and {here!r} here; name another "
                    "directory"
                )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out while this one writes.

        Raises:
            UsageError: if another process holds the run, or its file system has no locks.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock", timeout=0)
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
            OSError: if the disk refuses; the directory is removed again then, since nothing could go on with it.
        """
        try:
            write_atomically(self.config, resolved.to_toml())
            write_json(self.environment, _environment(resolved, strategy, record))
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def origins(self) -> set[str]:
        """Return where the components of the run were from, `vaeflow-flows 0.1.0`; nothing if that can't be read."""
        try:
            return set(json.loads(self.environment.read_text())["components"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return set()

    def describe_resumed(
        self, resolved: Resolved, strategy: Strategy, record: Provenance, step: int, changes: Sequence[str]
    ) -> None:
        """Write the environment that a run is resumed in at a step, and what has changed by then, in words."""
        content = {**_environment(resolved, strategy, record), "changes": list(changes)}
        write_json(self.path / f"environment-{step:09d}.json", content)


def _environment(resolved: Resolved, strategy: Strategy, record: Provenance) -> dict[str, Any]:
    return {**environment(resolved, strategy), "processor": processor(), "code": record.code, "data": record.data}


def _stem(key: str) -> str:
    return key.partition(".")[0]


def require_free(wanted: Path) -> None:
    """Raise a UsageError if a directory for a new run is there and holds something."""
    if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
        raise UsageError(
            f"--run-dir: {wanted} exists already; a run is never overwritten: `vaeflow resume {wanted}` goes on "
            "with it, or name another"
        )


def _made(wanted: Path) -> Path:
    require_free(wanted)
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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all. JSON has no NaN and no infinity: both are null."""
    write_atomically(path, json.dumps(_spelled(content), indent=2, allow_nan=False) + "\n")


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)

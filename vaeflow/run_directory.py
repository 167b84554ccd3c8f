"""What a run leaves on the disk, and who may write it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.config import KINDS_OF_SELECTIONS
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaeflow.config_resolve import Resolved
    from vaeflow.engine.strategies.base import Strategy

BITS_DEPEND_ON = ("intra_op_threads", "device_kind", "packages")
PACKAGES = ("tensorflow", "keras", "numpy", "horovod", "pluggy", "tensorboard", "matplotlib")


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
        there, here = _flat(tomllib.loads(self.config.read_text())), _flat(tomllib.loads(resolved.to_toml()))
        for key in sorted(there.keys() | here.keys()):
            if key.partition(".")[0] != "strategy" and there.get(key) != here.get(key):
                raise UsageError(
                    f"--resume: {self.path} has another run: {key} is {there.get(key)!r} there and {here.get(key)!r} "
                    "here; name another directory"
                )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs out while this one writes.

        Raises:
            UsageError: if another process holds the run.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise UsageError(f"{self.path} is in use by another process: wait for it, or train elsewhere") from None

    def describe(self, resolved: Resolved, strategy: Strategy) -> None:
        """Write the config and the environment of a run that begins.

        Raises:
            OSError: if the disk refuses; the directory is removed again then, since nothing could go on with it.
        """
        try:
            write_atomically(self.config, resolved.to_toml())
            write_json(self.environment, environment(resolved, strategy))
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def describe_resumed(self, resolved: Resolved, strategy: Strategy, step: int) -> list[str]:
        """Write the environment that a run goes on in from a step.

        Returns:
            What may change the run's bits from here on, in words.
        """
        before = json.loads(self.environment.read_text()) if self.environment.is_file() else {}
        now = environment(resolved, strategy)
        write_json(self.path / f"environment-{step:09d}.json", now)
        matter = [*BITS_DEPEND_ON, *(["replicas"] if resolved.config.microbatches == "auto" else [])]
        return [f"{key} {before.get(key)} is now {now[key]}" for key in matter if before.get(key) != now[key]]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree of tables as one, with dots in its keys.

    >>> _flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


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


def environment(resolved: Resolved, strategy: Strategy) -> dict[str, Any]:
    """Return what a run ran on: versions, devices, replicas, threads, components' origins, the commit, the command."""
    import tensorflow as tf

    selected = {key: getattr(resolved, key) for key in KINDS_OF_SELECTIONS}
    return {
        "vaeflow": version_of_vaeflow(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "strategy": strategy.name,
        "replicas": strategy.replicas,
        "processes": strategy.processes,
        "device_kind": "GPU" if tf.config.list_physical_devices("GPU") else "CPU",
        "devices": [_device(device) for device in tf.config.list_physical_devices()],
        "components": {key: str(one.registered.origin) for key, one in selected.items()},
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _device(device: Any) -> str:
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(device)
    return " ".join(filter(None, [device.name, details.get("device_name")]))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout that vaeflow is run from, with a plus if it was changed; None elsewhere."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}+" if _git(here, "status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

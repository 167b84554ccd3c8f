"""The names of the files and folders in a run directory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow.files.read import DIRECTORY, REGULAR, kind_of
from vaeflow.files.write import is_partial, remove_partials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
SUMMARY = "summary.json"
INIT = "init.json"
METRICS = "metrics.jsonl"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
CHECKPOINT = re.compile(r"step-(?P<step>\d{9}|[1-9]\d{9,17})(?P<due>-due)?")
"""The name of a checkpoint; `-due` marks one that was saved before its step's evaluation was done."""


@dataclass(frozen=True)
class Folder:
    """The contents of a folder of a run.

    Attributes:
        files: name patterns of regular files.
        folders: contents of folders, by the pattern of their names.
    """

    files: tuple[str, ...] = ()
    folders: Mapping[str, Folder] = field(default_factory=dict)


_PLOTS = ("*.png",)
_BOARD = ("events.out.tfevents.*", "*.tsv", "sprite.png", "projector_config.pbtxt")
_RECORDS = ("environment*.json", "evaluation-*.json", "provenance*.json", "mlflow.json")
RUN = Folder(
    (CONFIG, SUMMARY, INIT, METRICS, LOCK, *_RECORDS),
    {CHECKPOINTS: Folder(), "tensorboard": Folder(_BOARD), "plots": Folder(_PLOTS, {"epoch-*": Folder(_PLOTS)})},
)


def require_usual(path: Path, layout: Folder = RUN) -> None:
    """Check that the files of a run are regular files and its folders real directories; other names are ignored.

    This ensures that nothing outside the directory is read, written or deleted, and that opening a file never blocks.

    Args:
        path: the directory; it may itself be a link.
        layout: its expected contents.

    Raises:
        UsageError: if a file is a link, a FIFO, a device, a socket or a directory.
        OSError: if reading fails.
    """
    for name in sorted(os.listdir(path)):  # noqa: PTH208
        _require(path / name, layout)


def _require(path: Path, layout: Folder) -> None:
    inner = next((inner for pattern, inner in layout.folders.items() if fnmatchcase(path.name, pattern)), None)
    is_file = any(fnmatchcase(path.name, pattern) for pattern in layout.files)
    if inner is None and not is_file:
        return
    wanted, found = REGULAR if inner is None else DIRECTORY, kind_of(path)
    if found not in (wanted, None):
        raise UsageError(
            f"{path} is {found}, not {wanted}: vaeflow does not use it, and nothing was changed. Restore the original, "
            "or remove it"
        )
    if inner is not None and found is not None:
        require_usual(path, inner)


def clean(path: Path) -> None:
    """Remove partial files that killed processes left in a run directory. The caller must have its lock.

    Args:
        path: the directory, checked by `require_usual`.
    """
    plots = path / "plots"
    for folder in (path, path / "tensorboard", plots, *plots.glob("epoch-*")):
        if kind_of(folder, follow=folder == path) == DIRECTORY:
            remove_partials(folder)
    if kind_of(path / CHECKPOINTS) == DIRECTORY:
        remove_partials(path / CHECKPOINTS, directories=True)


def used_names(path: Path) -> list[str]:
    """Return all names in a run directory except the lock and partial files."""
    return sorted(entry.name for entry in os.scandir(path) if not _is_nothing(entry))


def has_checkpoint(path: Path) -> bool:
    """Return whether the directory contains a checkpoint, valid or not."""
    return any(CHECKPOINT.fullmatch(name) for name in _names(path / CHECKPOINTS))


def checkpoints_of(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, valid or not, the oldest first."""
    found = [(CHECKPOINT.fullmatch(name), name) for name in _names(folder)]
    return [folder / name for _, name in sorted((int(match["step"]), name) for match, name in found if match)]


def is_untouched(path: Path) -> bool:
    """Return whether a run directory contains only the files that are written before the first checkpoint."""
    saves = all(is_partial(name) for name in _names(path / CHECKPOINTS))
    return saves and set(used_names(path)) <= {CONFIG, ENVIRONMENT, INIT, CHECKPOINTS}


def _is_nothing(entry: os.DirEntry[str]) -> bool:
    return entry.name == LOCK or (is_partial(entry.name) and not entry.is_dir(follow_symlinks=False))


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if kind_of(folder) == DIRECTORY else []  # noqa: PTH208

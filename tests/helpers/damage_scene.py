"""Where damage is done: a run's directory, and what else there is."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

MANY = 1 << 22  # bytes that no file has which is read here


@dataclass(frozen=True)
class Scene:
    """Where a damage is done.

    Attributes:
        run: the directory that is damaged.
        other: the directory of a run of another seed, to take files from.
        outside: what links may point to; nobody may change it.
    """

    run: Path
    other: Path
    outside: Path

    def files(self, *suffixes: str) -> list[Path]:
        """Return the regular files of the run, in order, whose names end so; what was made huge is left alone."""
        return [path for path in self._paths() if is_small(path) and path.name.endswith(suffixes or "")]

    def folders(self) -> list[Path]:
        """Return the folders of the run, in order."""
        return [path for path in self._paths() if stat.S_ISDIR(path.lstat().st_mode)]

    def checkpoints(self) -> list[Path]:
        """Return the folders of checkpoints, oldest first."""
        return [path for path in self.folders() if path.parent == self.run / "checkpoints" and path.name[:5] == "step-"]

    def short(self, path: Path) -> str:
        """Return a path without where the run is."""
        return str(path.relative_to(self.run))

    def _paths(self) -> list[Path]:
        found = []
        for folder, folders, files in os.walk(self.run):
            found += [Path(folder) / name for name in (*folders, *files)]
        return sorted(found)


def one(drawn: Random, paths: list[Path]) -> Path | None:
    """Choose a path: first the name, since checkpoints have many files; then, half of the time, the last in order.

    The last is the newest checkpoint's, or the run's own.
    """
    names = sorted({path.name for path in paths})
    if not names:
        return None
    name = drawn.choice(names)
    found = [path for path in paths if path.name == name]
    return found[-1] if drawn.random() < 0.5 else drawn.choice(found)


def is_small(path: Path) -> bool:
    """Say whether a name is that of a regular file that can be read at once."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size < MANY


def clear(path: Path) -> None:
    """Remove whatever has a name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def make(path: Path, kind: str, outside: Path | None = None) -> None:
    """Make something of a kind."""
    if kind.endswith("folder"):
        path.mkdir()
        if kind == "full folder":
            (path / "something.json").write_text("{}")
    elif kind.startswith("link"):
        path.symlink_to(outside if kind == "link out" else path.name)
    elif kind == "file":
        path.write_text("something")
    else:
        os.mknod(path, (stat.S_IFIFO if kind == "FIFO" else stat.S_IFSOCK) | 0o600)

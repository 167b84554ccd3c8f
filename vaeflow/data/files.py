"""Which files data are read from: regular ones, by paths that mean something."""

from __future__ import annotations

import stat
from pathlib import Path

from vaeflow.errors import DataError

KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def expanded(given: str | Path) -> Path:
    """Return a path with ~ as the home directory.

    Raises:
        DataError: if there is no such home directory.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(f"{given}: there is no such home directory; write the path without ~") from error


def require_regular(path: Path) -> None:
    """Check that a file is a regular one, before it is opened: a FIFO waits for ever, and a device has no end.

    Raises:
        DataError: if it is of another kind.
        OSError: if there is none.
    """
    kind = KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind:
        raise DataError(f"{path}: {kind}, not a regular file")

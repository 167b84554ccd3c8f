"""Write files atomically: a file gets its name when it is complete on disk. Remove partial files of killed runs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARTIAL = re.compile(r"\..+\.partial", re.DOTALL)


def is_partial(name: str) -> bool:
    """Return whether a name is that of a partial file.

    >>> [is_partial(name) for name in (".summary.json.4711-5ae0.partial", "summary.json", "partial")]
    [True, False, False]
    """
    return _PARTIAL.fullmatch(name) is not None


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the file's folder; the file is synced and renamed, or removed after an error.

    Args:
        path: the file, or a directory that does not exist yet.

    Raises:
        OSError: if writing fails; an earlier file of this name is unchanged.
    """
    aside = _partial(path)
    try:
        with named(path):
            yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            remove(aside)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        OSError: if reading or writing fails.
    """
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically. NaN and infinity are written as null."""
    write_text(path, json.dumps(as_json(content), indent=2, allow_nan=False) + "\n")


def as_json(value: Any) -> Any:
    """Return a value for JSON: null for NaN and infinities."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def remove_partials(folder: Path, *, directories: bool = False) -> None:
    """Remove the partial files of killed processes in a folder; subfolders are not searched.

    Args:
        folder: it need not exist.
        directories: remove partial directories, too.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in [path for path in folder.iterdir() if is_partial(path.name)]:
            if directories or path.is_symlink() or not path.is_dir():
                with contextlib.suppress(OSError):
                    remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a directory with its content; of a link, only the link.

    A directory is first renamed to a partial name, so that a kill leaves no incomplete directory under its name.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif is_partial(path.name):
        shutil.rmtree(path)
    else:
        shutil.rmtree(path.rename(_partial(path)))


def _partial(path: Path) -> Path:
    """Return an unused partial name in the same folder.

    It is random: hosts that share a disk may have the same process ids, and no one can create a link there before.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Add a file's name to system errors; those of writing and syncing have none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error

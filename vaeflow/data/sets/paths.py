"""Paths of data files as users write them."""

from __future__ import annotations

from pathlib import Path

from vaeflow.errors import DataError


def expanded(given: str | Path) -> Path:
    """Return a path with ~ as the home directory.

    Raises:
        DataError: if there is no such home directory.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(f"{given}: there is no such home directory; write the path without ~") from error

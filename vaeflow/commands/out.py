"""What a command may write: a new file or folder with one of some suffixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow.files.read import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def require_new(out: Path, suffixes: Sequence[str] = ()) -> Path:
    """Return a path that can be written.

    Args:
        out: the value of --out.
        suffixes: allowed ones; none for a folder.

    Raises:
        UsageError: if it exists, has another suffix, or is in no directory.
    """
    if suffixes and out.suffix not in suffixes:
        *others, last = suffixes
        raise UsageError(
            f"--out {out}: the file's name must end with {', '.join(others)}{' or ' if others else ''}{last}"
        )
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no directory {out.parent}")
    if kind_of(out) is not None:
        raise UsageError(f"--out {out} already exists and is not overwritten: choose another name")
    return out

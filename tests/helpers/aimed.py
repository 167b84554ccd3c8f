"""Kills aimed at single operations on files: `aimed.c`, compiled and told where to shoot."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Change:
    """One change of a folder.

    Attributes:
        number: counted from one.
        what: open, write, flush, close, truncate, sync, rename, unlink or mkdir.
        path: below the folder, with a slash before.
    """

    number: int
    what: str
    path: str


def compiled(folder: Path) -> Path:
    """Return the library to preload, or skip the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = folder / "aimed.so"
    source = Path(__file__).with_name("aimed.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def watched(run: Path, log: Path) -> dict[str, str]:
    """Return the variables that have a run's changes written down."""
    return {"AIMED_FOLDER": str(run), "AIMED_LOG": str(log)}


def killed_at(run: Path, number: int, *, torn: bool) -> dict[str, str]:
    """Return the variables that have a process killed before a change, or after half of it."""
    return {"AIMED_FOLDER": str(run), "AIMED_KILL": str(number), "AIMED_TORN": str(int(torn))}


def changes(log: Path) -> list[Change]:
    """Return what was written down."""
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    return [Change(int(number), what, path) for number, what, path in lines]

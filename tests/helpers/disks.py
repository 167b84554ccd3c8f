"""Real small disks for tests. They take the right to mount."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small file system of memory, or skip the test where that is forbidden."""
    folder.mkdir(exist_ok=True)
    if shutil.which("mount") is None or _run("mount", "-t", "tmpfs", "-o", options, "none", folder):
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", folder)  # a test may have done so


@contextlib.contextmanager
def on_an_image(folder: Path, *options: str) -> Iterator[tuple[Path, Path]]:
    """Mount a file system of 64 MB in a file, on a disk that has 24: it may promise more than there is.

    Args:
        folder: where.
        options: of mkfs.ext4.

    Yields:
        The folder, and the disk below, whose room it takes.
    """
    with mounted(folder.with_name(f"below-{folder.name}"), "size=24m") as below:
        with image_of(below).open("wb") as image:
            image.truncate(64 << 20)
        folder.mkdir()
        if shutil.which("mkfs.ext4") is None or _run("mkfs.ext4", "-q", *options, image_of(below)):
            pytest.skip("needs mkfs.ext4")
        if _run("mount", "-o", "loop", image_of(below), folder):
            pytest.skip("needs a loop device")
        try:
            yield folder, below
        finally:
            _run("umount", folder)


def image_of(below: Path) -> Path:
    """Return the file that holds the file system."""
    return below / "image"


def mount_again(below: Path, folder: Path) -> None:
    """Mount a file system in a file anew: one that met an error stays read-only until then."""
    subprocess.run(["umount", "--lazy", folder], check=True)
    subprocess.run(["mount", "-o", "loop", image_of(below), folder], check=True)


def leave_files(disk: Path, count: int) -> None:
    """Make files until there can be so many more."""
    number = 0
    while os.statvfs(disk).f_ffree > count:
        (disk / f"filler-{number}").touch()
        number += 1


def leave_pages(disk: Path, count: int) -> None:
    """Fill a disk of memory until there is room for so many pages."""
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes((os.statvfs(disk).f_bavail - count) * PAGE))


def fill(disk: Path) -> None:
    """Fill a disk to the last byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(PAGE)):
            pass


def make_room(disk: Path) -> None:
    """Remove what filled it."""
    for filler in disk.glob("filler*"):
        filler.unlink()


def _run(*command: object) -> int:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode

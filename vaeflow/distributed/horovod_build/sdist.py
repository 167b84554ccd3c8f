"""Horovod's source package, from the user's registry, with a known checksum."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.distributed.horovod_build.pip import PipError, run_pip
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from pathlib import Path


class ChecksumError(VaeflowError):
    """The registry's file differs from the published one. Exit code 1."""


@dataclass(frozen=True)
class Sdist:
    """A source package.

    Attributes:
        name: of the distribution.
        version: of the distribution.
        sha256: of the file, in hexadecimal.
    """

    name: str
    version: str
    sha256: str

    @property
    def stem(self) -> str:
        """The name of the folder in the file."""
        return f"{self.name}-{self.version}"

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.stem}.tar.gz"


HOROVOD = Sdist("horovod", "0.28.1", "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0")


def download(sdist: Sdist, folder: Path, tools: Path) -> Path:
    """Download a source package from pip's configured registry.

    To get metadata, pip runs the package's setup.py. So pip gets the checksum and compares it before it unpacks
    anything; a file that differs is not run. Afterwards the checksum of the downloaded file is compared again.

    Args:
        sdist: the package.
        folder: an empty folder for the file.
        tools: the folder of the build's tools, which setup.py imports.

    Returns:
        The file.

    Raises:
        ChecksumError: if the file differs from the published one; it is not kept.
        PipError: if pip fails.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{sdist.name}=={sdist.version} --hash=sha256:{sdist.sha256}\n", encoding="utf-8")
    options = ["--require-hashes", "--no-deps", f"--no-binary={sdist.name}", "--no-build-isolation", "--no-cache-dir"]
    environ = {**os.environ, "PYTHONPATH": str(tools)}
    try:
        run_pip(f"download {sdist.file}", "download", *options, "-d", str(folder), "-r", str(wanted), environ=environ)
    except PipError as error:
        got = re.search(r"Got\s+([0-9a-f]{64})", error.output)
        if got is None:
            raise
        raise _differs(sdist, got[1]) from error
    archive = folder / sdist.file
    got_sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got_sha256 != sdist.sha256:
        archive.unlink()
        raise _differs(sdist, got_sha256)
    return archive


def _differs(sdist: Sdist, got: str) -> ChecksumError:
    return ChecksumError(
        f"the registry's {sdist.file} has SHA-256 {got}, the published one {sdist.sha256}; "
        "it was not used and is deleted"
    )


def unpack(sdist: Sdist, archive: Path, folder: Path) -> Path:
    """Unpack a source package; refuse files and links that lead outside the folder, and devices.

    Args:
        sdist: the package.
        archive: the file.
        folder: the target folder.

    Returns:
        The folder of the sources.

    Raises:
        VaeflowError: if it cannot be unpacked.
    """
    try:
        with tarfile.open(archive) as file:
            if hasattr(tarfile, "data_filter"):
                file.extractall(folder, filter="data")
            else:  # Python before 3.11.4
                file.extractall(folder, [_harmless(member, folder) for member in file])  # noqa: S202 Each member was checked.
    except (tarfile.TarError, OSError, EOFError) as error:
        raise VaeflowError(f"{archive.name} cannot be unpacked ({error})") from error
    return folder / sdist.stem


def _harmless(member: tarfile.TarInfo, folder: Path) -> tarfile.TarInfo:
    """Return a member if it is a file or a folder below `folder`; Horovod's package has nothing else."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
    if not (folder / member.name).resolve().is_relative_to(folder.resolve()):
        raise tarfile.TarError(f"{member.name} lies outside")
    return member

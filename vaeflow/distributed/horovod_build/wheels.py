"""The cache of wheels that were built."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.distributed.horovod_build.patch import fingerprint
from vaeflow.distributed.horovod_build.sdist import HOROVOD
from vaeflow.errors import VaeflowError
from vaeflow.files.write import written_aside

if TYPE_CHECKING:
    from pathlib import Path

TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-aarch64", "intel-tensorflow")


@dataclass(frozen=True)
class Target:
    """The target of a wheel of Horovod. A wheel for another target does not load, or crashes.

    Attributes:
        python: implementation and version, such as cpython-311.
        tensorflow: the version.
        platform: system and processor, such as linux-x86_64.
        device: 'cpu' or 'cuda'.
    """

    python: str
    tensorflow: str
    platform: str
    device: str

    @classmethod
    def here(cls, device: str) -> Target:
        """Return the target for this Python and its TensorFlow, which is not imported.

        Raises:
            VaeflowError: if TensorFlow is not installed.
        """
        return cls(sys.implementation.cache_tag, _tensorflow(), sysconfig.get_platform(), device)

    def __str__(self) -> str:
        return f"{self.python}, TensorFlow {self.tensorflow}, {self.platform}, {self.device}"

    @property
    def slug(self) -> str:
        """A name for a folder."""
        return f"{self.python}-tensorflow-{self.tensorflow}-{self.platform}-{self.device}"


def _tensorflow() -> str:
    for name in TENSORFLOWS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise VaeflowError("TensorFlow is not installed in this Python, but Horovod needs it to build")


@dataclass(frozen=True)
class Wheels:
    """The cache of wheels.

    Attributes:
        root: its folder, created by the first write.
    """

    root: Path

    def folder(self, target: Target) -> Path:
        """Return the folder of a wheel; it depends on the sources and the patch."""
        return self.root / f"{HOROVOD.version}-{fingerprint()}" / target.slug

    def find(self, target: Target) -> Path | None:
        """Return the wheel, or None if it has not been built."""
        return next(iter(sorted(self.folder(target).glob("*.whl"))), None)

    def log(self, target: Target) -> Path:
        """Return the file for the log of a build; its folder is created."""
        folder = self.folder(target)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "build.log"

    def keep(self, target: Target, wheel: Path) -> Path:
        """Put a wheel into the cache atomically.

        Args:
            target: what it is built for.
            wheel: the file; it is copied.

        Returns:
            The file in the cache.
        """
        folder = self.folder(target)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / wheel.name
        with written_aside(kept) as aside:
            shutil.copyfile(wheel, aside)
        return kept

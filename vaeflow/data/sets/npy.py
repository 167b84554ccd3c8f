"""Read and write .npy and .npz files: mapped or read row by row if possible, never unpickled, written atomically."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np

from vaeflow.data.sets.lazy import HELD_BYTES
from vaeflow.data.sets.stored_rows import StoredRows
from vaeflow.errors import DataError, FileError, VaeflowError
from vaeflow.files.read import open_regular
from vaeflow.files.write import written_aside
from vaeflow.runtime.memory import fits, format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vaeflow.data.sets.lazy import LazyRows

A = TypeVar("A")

LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip file's member; it ends with the lengths of its name and extra field


class Header(NamedTuple):
    """The header of an array in the .npy format.

    Attributes:
        shape: (N, *X).
        dtype: of the elements.
        order: "C" or "F", Fortran's.
        start: position of the first element in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def read(cls, file: BinaryIO) -> Header:
        """Read the header at a file's position.

        Raises:
            ValueError: if there is none.
        """
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
        return cls(shape, dtype, "F" if fortran else "C", file.tell())


def open_npy(path: Path, offset: int = 0) -> np.ndarray:
    """Map the array of a .npy file, read-only: pages are read when they are used.

    Args:
        path: the file.
        offset: where in the file the array's header starts, in bytes.

    Raises:
        DataError: if there is no such array, or it contains Python objects.
    """
    return _opened(path, offset, lambda at: np.memmap(path, at.dtype, "r", at.start, at.shape, at.order))


def open_large_npy(path: Path, offset: int = 0, *, mapped_bytes: int | None = None) -> np.ndarray | LazyRows:
    """Open the array of a .npy file, read-only: mapped, or not even that if it is large.

    Rows of a large array are read when they are indexed: single rows cost less than pages of a map, and a limit of the
    address space does not matter. An array in Fortran's order is mapped.

    Args:
        path: the file.
        offset: where in the file the array's header starts, in bytes.
        mapped_bytes: size of the largest array that is mapped; `HELD_BYTES` by default.

    Raises:
        DataError: as `open_npy`.
    """
    most = HELD_BYTES if mapped_bytes is None else mapped_bytes

    def opened(at: Header) -> np.ndarray | LazyRows:
        if at.nbytes > most and at.order == "C":
            return StoredRows(path, at.start, at.shape, at.dtype)
        return open_npy(path, offset)

    return _opened(path, offset, opened)


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """Open every array of a .npz file: uncompressed ones are mapped, compressed ones are loaded.

    `np.savez` does not compress, `np.savez_compressed` does.

    Raises:
        DataError: if the file is missing or corrupt, or an array contains Python objects.
    """
    return _members(path, open_npy)


def open_large_npz(path: Path) -> dict[str, np.ndarray | LazyRows]:
    """Open every array of a .npz file: uncompressed ones as `open_large_npy` does, compressed ones are loaded.

    Raises:
        DataError: as `open_npz`.
    """
    return _members(path, open_large_npy)


def _opened(path: Path, offset: int, open_at: Callable[[Header], A]) -> A | np.ndarray:
    try:
        with open_regular(path, follow=True) as file:
            file.seek(offset)
            header = Header.read(file)
        if header.dtype.hasobject:
            raise DataError(
                f"{path}: an array of Python objects needs pickle, which is not allowed; save plain numbers"
            )
        return open_at(header) if header.nbytes else np.empty(header.shape, header.dtype)
    except FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a complete .npy array ({_first_line(error)})") from error


def _members(path: Path, open_one: Callable[[Path, int], A]) -> dict[str, A | np.ndarray]:
    try:
        with open_regular(path, follow=True) as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return {
                member.filename.removesuffix(".npy"): open_one(path, _payload(path, member))
                if member.compress_type == zipfile.ZIP_STORED
                else _loaded(path, archive, member)
                for member in members
            }
    except FileError as error:
        raise DataError(str(error)) from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a complete .npz file ({_first_line(error)})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _loaded(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if not fits(member.file_size):
        raise DataError(
            f"{path}: {member.filename} is compressed and needs {format_bytes(member.file_size)} of memory, more than "
            "is available: write the file by np.savez, which does not compress"
        )
    try:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (
        ValueError,
        EOFError,
        RuntimeError,
        zlib.error,
    ) as error:  # RuntimeError: encrypted, or packed in another way
        raise DataError(f"{path}: {member.filename} cannot be read ({_first_line(error)})") from error


def _payload(path: Path, member: zipfile.ZipInfo) -> int:
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size)
    if len(header) < LOCAL_HEADER.size:
        raise DataError(f"{path}: {member.filename} is past the end of the file")
    return member.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed .npz file, atomically.

    Processes that read or map the previous file keep its bytes.

    Raises:
        VaeflowError: if the folder cannot be written; no partial file is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside, zipfile.ZipFile(aside, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise VaeflowError(f"cannot write {path}: {error.strerror or error}") from error

"""Read and write .npy and .npz files: mapped if possible, never unpickled, written atomically."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vaeflow.errors import DataError, FileError, VaeflowError
from vaeflow.files.read import open_regular
from vaeflow.files.write import written_aside
from vaeflow.runtime.memory import fits, format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip file's member; it ends with the lengths of its name and extra field


def open_npy(path: Path, offset: int = 0) -> np.ndarray:
    """Map the array of a .npy file, read-only: pages are read when they are used.

    Args:
        path: the file.
        offset: where in the file the array's header starts, in bytes.

    Raises:
        DataError: if there is no such array, or it contains Python objects.
    """
    try:
        with open_regular(path, follow=True) as file:
            file.seek(offset)
            shape, fortran, dtype = _header(file)
            start = file.tell()
        if dtype.hasobject:
            raise DataError(
                f"{path}: an array of Python objects needs pickle, which is not allowed; save plain numbers"
            )
        if math.prod(shape) == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    except FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a complete .npy array ({_first_line(error)})") from error


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """Open every array of a .npz file: uncompressed ones are mapped, compressed ones are loaded.

    `np.savez` does not compress, `np.savez_compressed` does.

    Raises:
        DataError: if the file is missing or corrupt, or an array contains Python objects.
    """
    try:
        with open_regular(path, follow=True) as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return {member.filename.removesuffix(".npy"): _open_member(path, archive, member) for member in members}
    except FileError as error:
        raise DataError(str(error)) from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a complete .npz file ({_first_line(error)})") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _open_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type == zipfile.ZIP_STORED:
        return open_npy(path, _payload(path, member))
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


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


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

"""Read IDX files, the original format of MNIST: a magic number, the sizes, then the values, big-endian."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vaeflow.errors import DataError, FileError
from vaeflow.files.read import open_regular

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # deflate never makes data smaller than this fraction


def open_idx(path: Path) -> np.ndarray:
    """Open the array of an IDX file; a raw file is mapped, a gzip file (detected by content) is loaded.

    Raises:
        DataError: if the file is missing or corrupt.
    """
    try:
        with open_regular(path, follow=True) as file:
            compressed = file.read(2) == GZIP_MAGIC
        if compressed:
            with gzip.open(path) as unzipped:
                return _read(path, unzipped)
        with path.open("rb") as file:
            return _map(path, file)
    except FileError as error:
        raise DataError(str(error)) from error
    except EOFError as error:
        raise DataError(f"{path}: the file is truncated ({error})") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _map(path: Path, file: BinaryIO) -> np.ndarray:
    dtype, shape = _header(path, file)
    start, wanted = file.tell(), math.prod(shape) * dtype.itemsize
    found = path.stat().st_size - start
    if found != wanted:
        raise DataError(f"{path}: its header states {wanted} bytes of values {shape}, but there are {found}")
    return np.memmap(path, dtype, "r", start, shape) if wanted else np.empty(shape, dtype)


def _read(path: Path, file: gzip.GzipFile) -> np.ndarray:
    dtype, shape = _header(path, file)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > DEFLATE_RATIO * path.stat().st_size:
        raise DataError(f"{path}: its header states {wanted} bytes of values {shape}, more than the file can contain")
    values = file.read(wanted + 1)  # one more: reading to the end also checks gzip's own checksum
    if len(values) != wanted:
        found = f"{len(values)}" if len(values) < wanted else "more"
        raise DataError(f"{path}: its header states {wanted} bytes of values {shape}, but there are {found}")
    return np.frombuffer(values, dtype).reshape(shape)


def _header(path: Path, file: BinaryIO | gzip.GzipFile) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
        raise DataError(f"{path}: not an IDX file: it starts with {magic.hex(' ') or 'nothing'}, not with 00 00 08 03")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: the file ends inside its header")
    return np.dtype(DTYPES[magic[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))

"""Decode PNG and JPEG files into arrays of one size, by Pillow, in several threads."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.distributed.job.cores import cores
from vaeflow.distributed.job.job import Job
from vaeflow.errors import DataError, FileError
from vaeflow.files.read import open_regular
from vaeflow.runtime.memory import fits, format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from PIL import Image

MODES = {1: "L", 3: "RGB"}  # Pillow's names, by channels
TAKES = {1: "grey images (mode L)", 3: "colour images (mode RGB)"}
PLAIN = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # modes that become bytes of grey or colour without a loss
DEEP = ("I", "F")  # modes with these letters in front have more than 8 bits
UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError),
    *(struct.error, zlib.error),
)
"""Exceptions that Pillow raises for files that are corrupt."""

FILES_AT_A_TIME = 32  # of a thread


@dataclass(frozen=True)
class Decoder:
    """Turns files into images of one size.

    Attributes:
        size: height and width. An image is scaled (bicubic, averaged if it becomes smaller) so that it just covers this
            size, and the rest is cut off on both sides; an image of this size keeps its bytes.
        channels: 1 for grey, 3 for red, green and blue.
        convert: whether to convert other images: grey to colour, colour to grey (ITU-R 601 luma), other colour spaces,
            and transparent pixels, which are put on black. If false, such an image is an error.
    """

    size: tuple[int, int]
    channels: int
    convert: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (*self.size, self.channels)

    def decode(self, path: Path) -> np.ndarray:
        """Return the image of a file, [height, width, channels] uint8, upright as its EXIF data say.

        Raises:
            DataError: if it is not a PNG or JPEG file, is corrupt or too large, or would have to be converted.
        """
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with open_regular(path, follow=True) as file, Image.open(file, formats=("PNG", "JPEG")) as opened:
                image = self._in_mode(ImageOps.exif_transpose(opened), path)
                fitted = ImageOps.fit(image, self.size[::-1], Image.Resampling.BICUBIC)
        except FileError as error:
            raise DataError(str(error)) from error
        except UnidentifiedImageError as error:
            raise DataError(f"{path}: it is not a PNG or JPEG image, or its beginning is corrupt") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(f"{path}: the image is too large for Pillow ({error})") from error
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error or type(error).__name__
            raise DataError(f"{path}: the image can't be decoded ({reason})") from error
        return np.asarray(fitted).reshape(self.shape)

    def _in_mode(self, image: Image.Image, path: Path) -> Image.Image:
        """Return an image in Pillow's mode of grey or colour, without transparent pixels."""
        from PIL import Image

        wanted, transparent = MODES[self.channels], image.has_transparency_data
        if image.mode.startswith(DEEP):
            raise DataError(f"{path}: the image has mode {image.mode}: save it with 8 bits per channel")
        if not self.convert and (transparent or PLAIN.get(image.mode) != wanted):
            what = "transparent pixels" if transparent else f"mode {image.mode}"
            other = f"channels={4 - self.channels} or " if PLAIN.get(image.mode) and not transparent else ""
            raise DataError(
                f"{path}: the image has {what}, but channels={self.channels} takes {TAKES[self.channels]}: "
                f"set {other}convert=true"
            )
        if not transparent:
            return image.convert(wanted)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert(wanted)


def decoded(folder: Path, names: Sequence[str], decoder: Decoder) -> np.ndarray:
    """Return the images of files, [N, height, width, channels] uint8; a terminal shows a progress bar.

    Args:
        folder: has the files.
        names: their paths below it.
        decoder: makes images of one size.

    Raises:
        DataError: with the first file that can't be used, or if the images do not fit into memory.
    """
    size = len(names) * math.prod(decoder.shape)
    if not fits(size):
        raise DataError(
            f"{folder}: {len(names)} images of {decoder.shape} take {format_bytes(size)} of memory, more than is "
            "available: lower size or train_examples"
        )
    pixels = np.empty((len(names), *decoder.shape), np.uint8)

    def read(start: int) -> int:
        some = names[start : start + FILES_AT_A_TIME]
        for row, name in enumerate(some, start):
            pixels[row] = decoder.decode(folder / name)
        return len(some)

    _read_all(read, len(names), folder.name)
    return pixels


def _read_all(read: Callable[[int], int], count: int, label: str) -> None:
    """Call a function for each start of some files, in threads; it returns how many files it read."""
    from PIL import Image
    from tqdm import tqdm

    job = Job.current()
    hidden = True if job.rank else None  # None: unless standard error is a terminal
    with (
        warnings.catch_warnings(),
        tqdm(total=count, desc=label, unit="image", leave=False, disable=hidden, delay=1.0) as bar,
        ThreadPoolExecutor(max(1, cores() // job.local_processes)) as pool,
    ):
        warnings.simplefilter("ignore")  # odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for done in pool.map(read, range(0, count, FILES_AT_A_TIME)):
            bar.update(done)

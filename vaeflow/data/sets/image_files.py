"""Decode PNG and JPEG files into arrays of one size, by Pillow, in several threads: at once, or when indexed."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.data.sets.lazy import HELD_BYTES, LazyRows
from vaeflow.distributed.job.cores import cores
from vaeflow.distributed.job.job import Job
from vaeflow.errors import DataError, FileError
from vaeflow.files.read import open_regular
from vaeflow.runtime.memory import fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
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
        from PIL import Image, ImageOps

        with self._opened(path) as opened:
            image = self._in_mode(ImageOps.exif_transpose(opened), path)
            fitted = ImageOps.fit(image, self.size[::-1], Image.Resampling.BICUBIC)
        return np.asarray(fitted).reshape(self.shape)

    def check(self, path: Path) -> None:
        """Check what a file's header says; the pixels are not decoded.

        Raises:
            DataError: as `decode`, if it can be seen from the header.
        """
        with self._opened(path) as opened:
            self._require_mode(opened, path)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Image.Image]:
        """Open an image; errors of reading and decoding it become DataError."""
        from PIL import Image, UnidentifiedImageError

        try:
            with open_regular(path, follow=True) as file, Image.open(file, formats=("PNG", "JPEG")) as opened:
                yield opened
        except FileError as error:
            raise DataError(str(error)) from error
        except UnidentifiedImageError as error:
            raise DataError(f"{path}: it is not a PNG or JPEG image, or its beginning is corrupt") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DataError(f"{path}: the image is too large for Pillow ({error})") from error
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error or type(error).__name__
            raise DataError(f"{path}: the image can't be decoded ({reason})") from error

    def _in_mode(self, image: Image.Image, path: Path) -> Image.Image:
        """Return an image in Pillow's mode of grey or colour, without transparent pixels."""
        from PIL import Image

        self._require_mode(image, path)
        if not image.has_transparency_data:
            return image.convert(MODES[self.channels])
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert(MODES[self.channels])

    def _require_mode(self, image: Image.Image, path: Path) -> None:
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


def decoded(folder: Path, names: Sequence[str], decoder: Decoder) -> np.ndarray | ImageFiles:
    """Return the images of files, [N, height, width, channels] uint8; a terminal shows a progress bar.

    They are decoded at once if they have at most `HELD_BYTES` and fit into memory. If not, only the headers are
    checked, and files are decoded when they are indexed.

    Args:
        folder: has the files.
        names: their paths below it.
        decoder: makes images of one size.

    Raises:
        DataError: with the first file that can't be used.
    """
    size = len(names) * math.prod(decoder.shape)
    if size > HELD_BYTES or not fits(size):
        _each_of(names, folder.name, lambda _, name: decoder.check(folder / name))
        return ImageFiles(folder, tuple(names), decoder)
    pixels = np.empty((len(names), *decoder.shape), np.uint8)

    def decode(row: int, name: str) -> None:
        pixels[row] = decoder.decode(folder / name)

    _each_of(names, folder.name, decode)
    return pixels


@dataclass(frozen=True)
class ImageFiles(LazyRows):
    """The images of files, decoded when they are indexed.

    Attributes:
        folder: has the files.
        names: their paths below it.
        decoder: makes images of one size.
    """

    folder: Path
    names: tuple[str, ...]
    decoder: Decoder

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, height, width, channels)."""
        return (len(self.names), *self.decoder.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def files(self) -> Iterable[Path]:
        """All image files; each reading opens those that it needs."""
        return (self.folder / name for name in self.names)

    @property
    def opens_again(self) -> bool:
        """True."""
        return True

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return images [B, height, width, channels], decoded in several threads.

        Raises:
            DataError: with the first file that can't be used.
        """
        found = np.empty((len(rows), *self.decoder.shape), np.uint8)

        def decode(place: int, name: str) -> None:
            found[place] = self.decoder.decode(self.folder / name)

        _each_of([self.names[row] for row in rows.tolist()], self.folder.name, decode, bar=False)
        return found


def _each_of(names: Sequence[str], label: str, use: Callable[[int, str], None], *, bar: bool = True) -> None:
    """Call a function with the place and the name of each of some files, in threads."""
    from PIL import Image
    from tqdm import tqdm

    def some(start: int) -> int:
        chosen = names[start : start + FILES_AT_A_TIME]
        for place, name in enumerate(chosen, start):
            use(place, name)
        return len(chosen)

    job = Job.current()
    hidden = True if job.rank or not bar else None  # None: unless standard error is a terminal
    with (
        warnings.catch_warnings(),
        tqdm(total=len(names), desc=label, unit="image", leave=False, disable=hidden, delay=1.0) as progress,
        ThreadPoolExecutor(max(1, cores() // job.local_processes)) as pool,
    ):
        warnings.simplefilter("ignore")  # odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for done in pool.map(some, range(0, len(names), FILES_AT_A_TIME)):
            progress.update(done)

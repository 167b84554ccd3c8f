"""Read a folder of images: which files it has, their classes, and their splits."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.image_files import Decoder, decoded
from vaeflow.data.sets.lazy import part_of
from vaeflow.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".png", ".jpg", ".jpeg")
SHOWN = 10  # classes that the data set's source names


@dataclass(frozen=True)
class Fractions:
    """The splits of a folder.

    Attributes:
        validation: fraction of the images that become the validation split; 0 for no such split.
        test: fraction of the images that become the test split; 0 for no such split.
        seed: another seed puts other images into the splits.
    """

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    def __str__(self) -> str:
        return f"validation_fraction={self.validation:g} and test_fraction={self.test:g}"

    def place(self, name: str) -> float:
        """Return an image's place in [0, 1): the test split takes the lowest ones, then validation, then train.

        Args:
            name: its path below the folder, with slashes. Nothing else decides its place, so an image stays in its
                split if others are added or removed.
        """
        digest = hashlib.blake2b(f"{self.seed}/".encode() + os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "little") / 2**64

    def split(self, names: list[str]) -> dict[str, list[str]]:
        """Return the names of each split, in the order of their places; without splits of fraction 0.

        Raises:
            DataError: if a split gets no image.
        """
        if self.validation + self.test >= 1:
            raise DataError(f"{self} leave no image for training; their sum must be less than 1")
        limits = {"test": self.test, "validation": self.test + self.validation, "train": 1.0}
        found: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for place, name in sorted((self.place(name), name) for name in names):
            found[next((split for split, limit in limits.items() if place < limit), "train")].append(name)
        wanted = {"train": 1.0, "validation": self.validation, "test": self.test}
        for split, fraction in wanted.items():
            if fraction and not found[split]:
                raise DataError(
                    f"none of the {len(names)} images is in the {split} split ({self}): set its fraction to 0, or take "
                    "another seed"
                )
        return {split: found[split] for split, fraction in wanted.items() if fraction}


def open_image_folder(
    folder: Path, decoder: Decoder, fractions: Fractions, *, train_examples: int | None, test_examples: int | None
) -> Dataset:
    """Return the images of a folder, [N, *size, channels] uint8: decoded, or decoded when they are indexed.

    Args:
        folder: its PNG and JPEG files, at any depth. If they are all in sub-folders, the first sub-folder of each is
            its class, and labels are places in the sorted names of these. Names with a dot in front are skipped, and
            links to folders are not followed.
        decoder: makes images of one size.
        fractions: of the splits.
        train_examples: number of training images, from the start, that are used; None uses all.
        test_examples: number of test images, from the start, that are used; None uses all.

    Raises:
        DataError: if there are no images, or one can't be used.
    """
    names = sorted(_names(folder))
    if not names:
        raise DataError(f"{folder}: there are no images ({', '.join(SUFFIXES)}) in it or below it")
    classes = _classes(folder, names)
    number = {name: label for label, name in enumerate(classes)}
    chosen = _chosen(folder, names, fractions, {"train": train_examples, "test": test_examples})
    pixels, first = decoded(folder, [name for some in chosen.values() for name in some], decoder), 0
    splits: dict[str, Split] = {}
    for split, some in chosen.items():
        y = np.array([number[_class_of(name)] for name in some], np.int64) if classes else None
        splits[split] = Split(part_of(pixels, first, len(some)), y)
        first += len(some)
    source = f"{folder}: {len(names)} images{_listed(classes)}"
    return Dataset("image-folder", splits["train"], splits.get("validation"), splits.get("test"), source)


def _chosen(
    folder: Path, names: list[str], fractions: Fractions, counts: dict[str, int | None]
) -> dict[str, list[str]]:
    """Return the names of the images of each split that are used."""
    try:
        chosen = fractions.split(names)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    for split, count in counts.items():
        if count is not None:
            chosen[split] = _first(chosen.get(split), count, str(folder), split)
    return chosen


def _names(folder: Path) -> Iterator[str]:
    """Yield the paths of the images below a folder, with slashes."""
    if not folder.is_dir():
        raise DataError(f"{folder}: {'it is a file, not a folder' if folder.exists() else 'there is no such folder'}")

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror or error}") from error

    for at, below, files in os.walk(folder, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(at, name).relative_to(folder).as_posix()


def _classes(folder: Path, names: list[str]) -> list[str]:
    """Return the sorted names of the classes; none if all images are in the folder itself."""
    loose = [name for name in names if "/" not in name]
    inner = [name for name in names if "/" in name]
    if loose and inner:
        raise DataError(
            f"{folder}: images are both in the folder itself ({loose[0]}) and in sub-folders ({inner[0]}); sub-folders "
            "are classes: put all images into sub-folders, or none"
        )
    return sorted({_class_of(name) for name in inner})


def _class_of(name: str) -> str:
    return name.partition("/")[0]


def _first(names: list[str] | None, count: int, where: str, split: str) -> list[str]:
    option = f"{where}: {split}_examples={count}"
    if names is None:
        raise DataError(f"{option}, but there is no {split} split")
    if count > len(names):
        raise DataError(f"{option}; allowed are 1 to {len(names)}")
    return names[:count]


def _listed(classes: list[str]) -> str:
    if not classes:
        return ""
    some = ", ".join(f"{number} {name}" for number, name in enumerate(classes[:SHOWN]))
    return f" of {len(classes)} classes: {some}{', ...' if len(classes) > SHOWN else ''}"

"""Built-in data sets of a user's own files, which may be larger than the memory.

Up to 2 GiB are held in the device's memory, if they fit. Of more than that, each step reads its examples, while the
step before computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.components.datasets import Count, Fraction, Seed, Validation  # noqa: TC001  # options' types are read

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.contracts import Dataset, Split
    from vaeflow.data.sets import Folders

Side = Annotated[int, Field(ge=1, le=8192)]
Length = Annotated[int, Field(ge=1, le=2**31)]


def arrays(
    folders: Folders,  # noqa: ARG001
    *,
    path: str,
    labels: str | None = None,
    check: bool = True,
    validation: Validation = 0,
    train_examples: Count = None,
    test_examples: Count = None,
) -> Dataset:
    """Your own arrays: uint8 from 0 to 255 or floats from 0 to 1, [N, K], [N, H, W] or [N, H, W, C].

    .npy files and uncompressed .npz files stay on the disk, so that data may be larger than the memory. Floats other
    than float32 are converted: arrays of more than 2 GiB when they are read, others in memory.

    Args:
        folders: not used.
        path: a .npz file, or a folder of .npy files, with x_train and optionally y_train, x_validation, y_validation,
            x_test, y_test; or one .npy file with the training examples. In a folder an array may be several files, such
            as x_train-00000-of-00004.npy. ~ is your home directory.
        labels: a .npy file of labels, if path is one .npy file.
        check: whether to check every pixel for NaN and values outside the range; set it to false for likelihoods of
            values outside [0, 1].
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        DataError: if a file is missing or corrupt, or its content cannot be used for training.
    """
    from vaeflow.data.sets.arrays import open_arrays
    from vaeflow.data.sets.splits import Cut

    found = open_arrays(_path(path), _path(labels) if labels else None, check=check)
    return Cut(validation, train_examples, test_examples).of(found)


def idx(
    folders: Folders,  # noqa: ARG001
    *,
    train_images: str,
    train_labels: str | None = None,
    test_images: str | None = None,
    test_labels: str | None = None,
    check: bool = True,
    validation: Validation = 0,
    train_examples: Count = None,
    test_examples: Count = None,
) -> Dataset:
    """Your own IDX files (MNIST's format), raw or compressed by gzip.

    Args:
        folders: not used.
        train_images: the file of the training images. ~ is your home directory.
        train_labels: the file of their labels, if there is one.
        test_images: the file of the test images, if there is one.
        test_labels: the file of their labels, if there is one.
        check: whether to check every pixel; see `arrays`.
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        DataError: if a file is missing or corrupt, or its content cannot be used for training.
    """
    from vaeflow.contracts import Dataset
    from vaeflow.data.sets.splits import Cut
    from vaeflow.errors import DataError

    if test_labels and not test_images:
        raise DataError(f"test_labels={test_labels}: labels without images; set test_images too")
    train = _idx_split(train_images, train_labels, check=check)
    test = _idx_split(test_images, test_labels, check=check) if test_images else None
    found = Dataset("idx", train, None, test, train_images)
    return Cut(validation, train_examples, test_examples).of(found)


def image_folder(
    folders: Folders,  # noqa: ARG001
    *,
    path: str,
    size: tuple[Side, Side],
    channels: Literal[1, 3] = 3,
    convert: bool = False,
    validation_fraction: Fraction = 0.0,
    test_fraction: Fraction = 0.1,
    seed: Seed = 0,
    train_examples: Count = None,
    test_examples: Count = None,
) -> Dataset:
    """Your own PNG and JPEG files in a folder, [N, height, width, channels] uint8.

    Files are found at any depth. If they are all in sub-folders, the first sub-folder of each is its class: labels are
    places in the sorted names of these. Files and folders with a dot in front are skipped, and links to folders are not
    followed. Images are decoded by Pillow, in several threads, upright as their EXIF data say: before the run if they
    have at most 2 GiB and fit into memory, else by each step for its examples, and before the run headers are checked.

    The split of an image, and its place there, is a function of the seed and of its path below the folder alone: it
    stays in its split if other images are added. So the sizes of the splits are only about the fractions.

    Args:
        folders: not used.
        path: the folder. ~ is your home directory.
        size: height and width. An image is scaled so that it just covers this size (bicubic, averaged if it becomes
            smaller), and the rest is cut off equally on both sides. An image of this size keeps its pixels.
        channels: 1 for grey, 3 for red, green and blue.
        convert: whether to convert images that have other channels: grey to colour, colour to grey (ITU-R 601 luma),
            other colour spaces, transparent pixels (put on black). If false, such an image is an error.
        validation_fraction: of the images that become the validation split; 0 for no such split.
        test_fraction: of the images that become the test split; 0 for no such split.
        seed: another seed puts other images into the splits.
        train_examples: number of training images to use, from the start; default: all.
        test_examples: number of test images to use, from the start; default: all.

    Raises:
        DataError: if there are no images, one of them can't be used, or a split gets none.
    """
    from vaeflow.data.sets.image_files import Decoder
    from vaeflow.data.sets.image_folder import Fractions, open_image_folder

    return open_image_folder(
        _path(path),
        Decoder(size, channels, convert),
        Fractions(validation_fraction, test_fraction, seed),
        train_examples=train_examples,
        test_examples=test_examples,
    )


def array_record(
    folders: Folders,  # noqa: ARG001
    *,
    path: str,
    shape: Annotated[tuple[Length, ...], Field(min_length=1, max_length=3)],
    dtype: Literal["uint8", "float32"] = "uint8",
    check: bool = True,
    validation: Validation = 0,
    train_examples: Count = None,
    test_examples: Count = None,
) -> Dataset:
    """Your own ArrayRecord files, read by Google's library of this name (the extra `array-record`).

    Each record is the bytes of one example, in C order and little-endian. Write them with `group_size:1`: a step reads
    single records in a shuffled order.

    Args:
        folders: not used.
        path: a folder of files `train*.array_record`, any number of them, in the order of their names, and optionally
            `validation*.array_record` and `test*.array_record`; labels are arrays `y_train.npy` and so on. ~ is your
            home directory.
        shape: of one example, [K], [H, W] or [H, W, C].
        dtype: of its elements.
        check: whether to check every pixel; see `arrays`.
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        DataError: if there are no such files, or one can't be used.
        UsageError: if the library is not installed.
    """
    import numpy as np

    from vaeflow.data.sets.array_record import Records, open_array_records
    from vaeflow.data.sets.splits import Cut

    found = open_array_records(_path(path), Records(shape, np.dtype(dtype).newbyteorder("<")), check=check)
    return Cut(validation, train_examples, test_examples).of(found)


def _idx_split(images: str, labels: str | None, *, check: bool) -> Split:
    from vaeflow.data.sets.checks import Named, checked_split
    from vaeflow.data.sets.idx import open_idx

    y = Named(open_idx(_path(labels)), labels) if labels else None
    return checked_split(Named(open_idx(_path(images)), images), y, pixels=check)


def _path(given: str) -> Path:
    from vaeflow.data.sets.paths import expanded

    return expanded(given)

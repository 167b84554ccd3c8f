"""Built-in data sets.

Pixels keep their stored type, uint8 or float32, and are mapped if the file allows it, so that the processes of one
machine share the memory. MNIST takes 47 MB for its 60000 x 784 training pixels (instead of 188 MB as float32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.contracts import Dataset, Split
    from vaeflow.data.sets import Folders

Count = Annotated[int, Field(ge=1)] | None
Validation = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=1, le=8192)]
Factor = Literal["shape", "hue", "size", "x", "y", "rotation"]


def mnist(
    folders: Folders, *, validation: Validation = 0, train_examples: Count = None, test_examples: Count = None
) -> Dataset:
    """MNIST (LeCun et al. 1998): 60000 training and 10000 test digits, [N, 28, 28, 1] uint8, downloaded if needed.

    Args:
        folders: of data sets.
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        VaeflowError: see `vaeflow.data.sets.fetch.fetch`.
    """
    from vaeflow.data.sets.splits import Cut

    return Cut(validation, train_examples, test_examples).of(_published("mnist", folders))


def fashion_mnist(
    folders: Folders, *, validation: Validation = 0, train_examples: Count = None, test_examples: Count = None
) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): pictures of clothes in MNIST's format, downloaded if needed.

    Args:
        folders: of data sets.
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        VaeflowError: see `vaeflow.data.sets.fetch.fetch`.
    """
    from vaeflow.data.sets.splits import Cut

    return Cut(validation, train_examples, test_examples).of(_published("fashion-mnist", folders))


def digits(
    folders: Folders,  # noqa: ARG001
    *,
    validation: Validation = 0,
    train_examples: Count = None,
    test_examples: Count = None,
) -> Dataset:
    """Small digits that are part of this package: 1500 for training and 297 for the test, [N, 8, 8, 1] uint8.

    They are the test set of UCI's Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998,
    https://doi.org/10.24432/C50P49, licence CC BY 4.0), in the published order: the first 1500 of 1797 are the training
    split. Values from 0 to 16 are scaled to 0 to 255. No download is needed.

    Args:
        folders: not used.
        validation: number of training examples, from the end, that become the validation split.
        train_examples: number of training examples to use, from the start; default: all that remain.
        test_examples: number of test examples to use, from the start; default: all.

    Raises:
        DataError: if there are fewer examples.
    """
    from vaeflow.data.sets.digits import open_digits
    from vaeflow.data.sets.splits import Cut

    return Cut(validation, train_examples, test_examples).of(open_digits())


def shapes(
    folders: Folders,  # noqa: ARG001
    *,
    train_examples: Annotated[int, Field(ge=1, le=2**40)] = 20_000,
    validation: Annotated[int, Field(ge=0, le=2**40)] = 0,
    test_examples: Annotated[int, Field(ge=0, le=2**40)] = 4_000,
    label: Factor | None = "shape",
    seed: Seed = 0,
) -> Dataset:
    """Pictures of one coloured shape on black, drawn from known factors, [N, 64, 64, 3] uint8; nothing is stored.

    The factors are shape (square, ellipse, heart, triangle), hue, size, x, y and rotation, independent and uniform.
    `vaeflow.data.sets.shapes` has their ranges and returns all factors of any examples. An example is a function of
    seed, split and index, whatever the number of examples. A split of up to 2 GiB (174762 examples) is drawn once, when
    the run starts; the examples of a larger one are drawn by each step that uses them.

    Args:
        folders: not used.
        train_examples: number of training examples.
        validation: number of examples of the validation split, none of them a training example; 0 for no such split.
        test_examples: number of examples of the test split; 0 for no such split.
        label: the factor that is the label: the number of the shape, or which tenth of the range of another factor;
            'none' for no labels.
        seed: another seed draws other examples.

    Raises:
        DataError: if the labels do not fit into memory.
    """
    from vaeflow.data.sets.shapes import shapes_of

    counts = {"train": train_examples, "validation": validation, "test": test_examples}
    return shapes_of(counts, label, seed)


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

    .npy files and uncompressed .npz files are mapped, so that data may be larger than the memory. Floats other than
    float32 are converted in memory.

    Args:
        folders: not used.
        path: a .npz file, or a folder of .npy files, with x_train and optionally y_train, x_validation, y_validation,
            x_test, y_test; or one .npy file with the training examples. ~ is your home directory.
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
    """Your own PNG and JPEG files in a folder, [N, height, width, channels] uint8, held in memory.

    Files are found at any depth. If they are all in sub-folders, the first sub-folder of each is its class: labels are
    places in the sorted names of these. Files and folders with a dot in front are skipped, and links to folders are not
    followed. Images are decoded by Pillow, in several threads, upright as their EXIF data say.

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


def _published(name: str, folders: Folders) -> Dataset:
    import numpy as np

    from vaeflow.contracts import Dataset, Split
    from vaeflow.data.sets.content import Content
    from vaeflow.data.sets.fetch import fetch
    from vaeflow.data.sets.npy import open_npz

    found = open_npz(fetch(name, folders))
    content = Content.of(found, name)
    train = Split(content.x_train[..., np.newaxis], content.y_train)
    test = Split(content.x_test[..., np.newaxis], content.y_test)
    return Dataset(name, train, None, test, str(found["source"]))


def _idx_split(images: str, labels: str | None, *, check: bool) -> Split:
    from vaeflow.data.sets.checks import Named, checked_split
    from vaeflow.data.sets.idx import open_idx

    y = Named(open_idx(_path(labels)), labels) if labels else None
    return checked_split(Named(open_idx(_path(images)), images), y, pixels=check)


def _path(given: str) -> Path:
    from vaeflow.data.sets.paths import expanded

    return expanded(given)

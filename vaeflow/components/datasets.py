"""Built-in data sets.

Pixels keep their stored type, uint8 or float32, and are mapped if the file allows it, so that the processes of one
machine share the memory. MNIST takes 47 MB for its 60000 x 784 training pixels (instead of 188 MB as float32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from vaeflow.contracts import Dataset
    from vaeflow.data.sets import Folders

Count = Annotated[int, Field(ge=1)] | None
Validation = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
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

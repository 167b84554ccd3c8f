"""The classes of a data set's labels, for a conditional model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import Dataset


def classes_of(dataset: Dataset) -> int:
    """Return C, one more than the largest label of the training split.

    Raises:
        UsageError: if a split has no labels, labels that are not one whole number of at least 0 per example, or labels
            that no class of the training split has.
    """
    for name, split in dataset.splits().items():
        if split.y is None:
            raise UsageError(
                f"condition.labels = true, but the {name} split of data set {dataset.name!r} has no labels"
            )
        y = np.asarray(split.y)
        if y.ndim != 1 or y.dtype.kind not in "iu" or int(y.min()) < 0:
            raise UsageError(
                f"condition.labels = true, but the labels of the {name} split of data set {dataset.name!r} are not one "
                f"whole number of at least 0 per example (shape {y.shape}, type {y.dtype})"
            )
    classes = int(np.max(np.asarray(dataset.train.y))) + 1
    if classes > len(dataset.train):
        raise UsageError(
            f"condition.labels = true, but the largest label of data set {dataset.name!r} is {classes - 1} for "
            f"{len(dataset.train)} training examples: labels are numbers of classes, 0 to C - 1"
        )
    for name, split in dataset.splits().items():
        largest = int(np.max(np.asarray(split.y)))
        if largest >= classes:
            raise UsageError(
                f"condition.labels = true, but the {name} split of data set {dataset.name!r} has label {largest}, and "
                f"the training split has labels up to {classes - 1}"
            )
    return classes

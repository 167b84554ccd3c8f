"""Warnings about unusual labels. Labels are used for plots only, not for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaeflow.data.sets.sampled_rows import LookedAt

FEWEST = 200  # fewest examples for the check of neighbours
QUERIES, ELEMENTS = 500, 1024  # number of examples that are compared, and elements of each
ERRORS = 3.0  # standard errors above chance by which neighbours must agree
SHOWN = 5


def label_warnings(looked: Mapping[str, LookedAt]) -> Iterator[str]:
    """Yield warnings about the labels of splits.

    Args:
        looked: the splits by name, including train.
    """
    labelled = {name: one for name, one in looked.items() if one.split.y is not None}
    for name, one in labelled.items():
        yield from _warn_about_split(name, np.asarray(one.split.y))
    if "train" not in labelled:
        return
    known = np.unique(np.asarray(labelled["train"].split.y))
    for name, one in labelled.items():
        unknown = np.setdiff1d(np.asarray(one.split.y), known)
        if unknown.size:
            yield f"{name} has labels that no training example has: {_few(unknown)}"
    if isinstance(labelled["train"].split.x, np.ndarray):  # others are computed, in no order that could be mixed up
        yield from _warn_about_neighbours(labelled["train"])


def _warn_about_split(name: str, y: np.ndarray) -> Iterator[str]:
    classes = np.unique(y)
    if y.min() < 0:
        yield f"{name} has negative labels: {_few(classes[classes < 0])}"
    if len(y) > 1 and len(classes) == 1:
        yield f"all {len(y)} labels of {name} are {classes[0]}"
    elif len(y) >= FEWEST and len(classes) > len(y) / 2:
        yield f"{name} has {len(classes)} different labels for {len(y)} examples: they may not be classes"
    elif len(y) >= FEWEST and np.all(np.diff(y.astype(np.int64)) >= 0):
        yield (
            f"{name} is sorted by its labels: dataset.train_examples and dataset.validation take the first and the "
            "last examples, which have other classes"
        )


def _warn_about_neighbours(train: LookedAt) -> Iterator[str]:
    """Yield a warning if nearest neighbours agree in their labels no more often than by chance."""
    y, x = np.asarray(train.split.y)[train.index], train.some
    classes, counts = np.unique(y, return_counts=True)
    if len(y) < FEWEST or not 2 <= len(classes) <= len(y) / 2 or not np.isfinite(x).all():
        return
    columns = np.unique(np.linspace(0, x.shape[1] - 1, min(x.shape[1], ELEMENTS)).astype(np.int64))
    rows = x[:, columns].astype(np.float32)
    queries = np.unique(np.linspace(0, len(y) - 1, min(len(y), QUERIES)).astype(np.int64))
    squares = np.sum(np.square(rows), axis=1)
    apart = squares[None] - 2.0 * rows[queries] @ rows.T
    apart[np.arange(len(queries)), queries] = np.inf
    share = float(np.mean(y[np.argmin(apart, axis=1)] == y[queries]))
    chance = float(np.sum(np.square(counts / len(y))))
    if share < chance + ERRORS * np.sqrt(chance * (1.0 - chance) / len(queries)):
        yield (
            f"labels of train seem to be unrelated to its images: of {len(queries)} examples, {share:.0%} have the "
            f"label of the most similar one, and {chance:.0%} would by chance; labels and images may be in different "
            "order"
        )


def _few(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:SHOWN])) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")

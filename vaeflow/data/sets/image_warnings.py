"""Warnings about unusual data before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets.label_warnings import label_warnings
from vaeflow.data.sets.sampled_rows import LookedAt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import Dataset

REPEATED, ONE_COLOUR = 0.01, 0.01  # fractions of copies and of images of one colour that give no warning
DARK = 0.05  # the brightest pixel of data that were divided by 255 twice is 0.004
CHANNELS = (1, 3, 4)


def data_warnings(dataset: Dataset, batch_size: int, *, counts: bool = False) -> Iterator[str]:
    """Yield warnings about a data set.

    Args:
        dataset: as loaded.
        batch_size: of the run.
        counts: whether whole floats are expected, since the likelihood is one of counts.
    """
    looked = {name: LookedAt(name, split) for name, split in dataset.splits().items()}
    train = looked["train"]
    yield from _warn_about_sizes(dataset, batch_size)
    yield from _warn_about_axes(dataset.x_shape)
    for one in looked.values():
        yield from _warn_about_pixels(one, counts=counts)
    yield from _warn_about_copies(train)
    for name in ("validation", "test"):
        if name in looked:
            yield from _warn_about_overlap(looked[name], train)
    if "validation" in looked and "test" in looked:
        yield from _warn_about_overlap(looked["test"], looked["validation"])
    yield from label_warnings(looked)


def _warn_about_sizes(dataset: Dataset, batch_size: int) -> Iterator[str]:
    examples = len(dataset.train)
    if batch_size > examples:
        yield f"batch_size = {batch_size} is larger than the {examples} training examples: each step is one epoch"
    if dataset.validation is not None and len(dataset.validation) > examples:
        yield f"validation has {len(dataset.validation)} examples, more than the {examples} training examples"


def _warn_about_axes(x_shape: tuple[int, ...]) -> Iterator[str]:
    if len(x_shape) != 3:
        return
    first, height, last = x_shape
    if first in CHANNELS and last not in CHANNELS and height > max(CHANNELS):
        yield (
            f"an example has shape {x_shape}, which looks like (channels, height, width). vaeflow needs channels last, "
            f"({height}, {last}, {first}); convert by np.moveaxis(x, 1, -1)"
        )


def _warn_about_pixels(looked: LookedAt, *, counts: bool) -> Iterator[str]:
    """Yield warnings about values."""
    some, count, name = looked.some, len(looked.some), looked.name
    of = f"of {count} checked {name} examples"
    if some.dtype.kind == "f":
        bad = int(np.sum(~np.isfinite(some).all(axis=1)))
        if bad:
            yield f"{bad} {of} have values that are not finite, and so will be their loss"
            return
        if not counts and some.max() > 1.0 and np.array_equal(some, np.round(some)) and some.min() >= 0:
            yield f"{name} has whole floats up to {some.max():g}: only bytes (uint8) are divided by 255, floats are not"
    white = 255 if some.dtype == np.uint8 else 1
    if 0 < some.max() <= DARK * white and some.min() >= 0:
        yield (
            f"the largest pixel of {name} is {some.max():.4g} of {white} in {count} checked examples: they may have "
            "been divided by 255 twice"
        )
    one_colour = int(np.sum(some.max(axis=1) == some.min(axis=1))) if some.shape[1] > 1 else 0
    if one_colour > ONE_COLOUR * count:
        yield f"{one_colour} {of} have one value in every element"


def _warn_about_copies(train: LookedAt) -> Iterator[str]:
    copies = train.count - len(np.unique(train.fingerprints))
    if copies > REPEATED * train.count:
        yield f"{copies} of {train.count} training examples are copies of others{train.part}"


def _warn_about_overlap(held_out: LookedAt, other: LookedAt) -> Iterator[str]:
    common = int(np.isin(held_out.fingerprints, other.fingerprints).sum())
    if common:
        parts = "".join(dict.fromkeys((held_out.part, other.part)))
        yield (
            f"{common} of {held_out.count} {held_out.name} examples are also in the {other.name} split{parts}: metrics "
            f"of {held_out.name} are too optimistic"
        )

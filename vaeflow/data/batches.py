"""Rows of a global batch for a step: gathered, transformed, binarized, with a mask for padding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.data.order import Order
from vaeflow.data.source import Source, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.contracts import Binarization, Split, Transform

LARGEST = 2**31 - 1  # of int32
FIXED_SEED = 0  # a fixed binarization is the same for every run


class Batch(NamedTuple):
    """Rows of a global batch.

    Attributes:
        x: [rows, *X] float32.
        valid: [rows] float32, 1 for an example and 0 for padding.
        y: [rows] int32, the labels as stored; None if the data have none.
        labels: [rows, C] float32, the labels as one-hot vectors for a conditional model; None for others.
    """

    x: tf.Tensor
    valid: tf.Tensor
    y: tf.Tensor | None = None
    labels: tf.Tensor | None = None


@dataclass(frozen=True)
class Batches:
    """Examples of one split as batches.

    Attributes:
        split: the split's name; the binarization's noise depends on it.
        source: pixels by index.
        examples: N.
        x_shape: X, after the transforms.
        binarization: turns pixels into x.
        order: the order of training.
        transforms: applied before the binarization.
        y: [N] int32, the labels; None if the data have none.
        classes: C of a conditional model; 0 for others, which get no labels.
    """

    split: str
    source: Source
    examples: int
    x_shape: tuple[int, ...]
    binarization: Binarization
    order: Order
    transforms: tuple[Transform, ...] = ()
    y: tf.Tensor | None = None
    classes: int = 0

    @classmethod
    def of(
        cls,
        split: str,
        data: Split,
        binarization: Binarization,
        *,
        seed: int,
        batch_size: int,
        transforms: Sequence[Transform] = (),
        classes: int = 0,
    ) -> Batches:
        """Return batches of a split.

        Args:
            split: its name.
            data: its examples.
            binarization: turns pixels into x.
            seed: the run's seed.
            batch_size: the global batch.
            transforms: applied to the stored pixels first, in this order.
            classes: C of a conditional model, else 0.
        """
        return cls(
            split,
            source_of(data.x),
            len(data),
            tuple(transforms[-1].x_shape if transforms else data.x.shape[1:]),
            binarization,
            Order(seed, len(data), batch_size),
            tuple(transforms),
            _labels(data.y),
            classes,
        )

    def shuffled(self, step: tf.Tensor, first: tf.Tensor, rows: int) -> Batch:
        """Return rows [first, first + rows) of a training step's global batch."""
        index, valid = self.order.rows(step, first, rows)

        def following() -> tf.Tensor:
            return self.order.rows(step + 1, first, rows)[0]

        return self._batch(index, valid, step, first, rows, training=True, following=following)

    def in_order(self, first: tf.Tensor, rows: int) -> Batch:
        """Return examples [first, first + rows) as they are stored; rows after the last one are padding."""
        row = tf.cast(first, tf.int64) + tf.range(rows, dtype=tf.int64)
        index, valid = row % self.examples, row < self.examples

        def following() -> tf.Tensor:
            return (row + rows) % self.examples

        return self._batch(index, valid, 0, first, rows, training=False, following=following)

    def first_of_order(self, count: int) -> tf.Tensor:
        """Return different examples that the seed chooses, [count, *X], as in evaluations.

        Args:
            count: at most N.
        """
        index, _ = Order(self.order.seed, self.examples, count).rows(tf.constant(0, tf.int64), tf.constant(0), count)
        return self._batch(index, tf.ones((count,)), 0, tf.constant(0), count, training=False).x

    def _batch(
        self,
        index: tf.Tensor,
        valid: tf.Tensor,
        step: tf.Tensor,
        first: tf.Tensor,
        rows: int,
        *,
        training: bool,
        following: Callable[[], tf.Tensor] | None = None,
    ) -> Batch:
        def uniform(name: str, kind: str, width: int) -> tf.Tensor | None:
            if kind == "none":
                return None
            if kind == "example":
                return Noise(FIXED_SEED, f"{name}/{self.split}").uniform_of(index, width)
            return Noise(self.order.seed, f"{name}/{self.split}").uniform(step, first, rows, width)

        pixels = self.source.gather(index, following)
        for number, transform in enumerate(self.transforms):
            if training or not transform.training_only:
                pixels = transform(pixels, uniform(f"transform/{number}", transform.noise, transform.noise_size))
        noise = uniform("binarization", self.binarization.noise, math.prod(self.x_shape))
        x = self.binarization(pixels, None if noise is None else tf.reshape(noise, (rows, *self.x_shape)))
        return Batch(tf.ensure_shape(x, (rows, *self.x_shape)), tf.cast(valid, tf.float32), *self.labels(index))

    def labels(self, index: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Return `Batch.y` and `Batch.labels` of examples, for their indices."""
        y = None if self.y is None else tf.gather(self.y, index)
        return y, (tf.one_hot(y, self.classes) if self.classes else None)


def _labels(y: np.ndarray | None) -> tf.Tensor | None:
    """Return labels that are one whole number per example as int32; None for others, which are for plots alone."""
    if y is None or y.ndim != 1 or y.dtype.kind not in "iu" or not np.all(np.abs(y.astype(np.float64)) <= LARGEST):
        return None
    return tf.constant(np.asarray(y, np.int32))

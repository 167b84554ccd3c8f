"""Rows of a global batch for a step: gathered, transformed, binarized, with a mask for padding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.data.order import Order
from vaeflow.data.source import Source, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import Binarization, Split, Transform

FIXED_SEED = 0  # a fixed binarization is the same for every run


class Batch(NamedTuple):
    """Rows of a global batch.

    Attributes:
        x: [rows, *X] float32.
        valid: [rows] float32, 1 for an example and 0 for padding.
    """

    x: tf.Tensor
    valid: tf.Tensor


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
    """

    split: str
    source: Source
    examples: int
    x_shape: tuple[int, ...]
    binarization: Binarization
    order: Order
    transforms: tuple[Transform, ...] = ()

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
    ) -> Batches:
        """Return batches of a split.

        Args:
            split: its name.
            data: its examples.
            binarization: turns pixels into x.
            seed: the run's seed.
            batch_size: the global batch.
            transforms: applied to the stored pixels first, in this order.
        """
        order = Order(seed, len(data), batch_size)
        x_shape = tuple(transforms[-1].x_shape if transforms else data.x.shape[1:])
        return cls(split, source_of(data.x), len(data), x_shape, binarization, order, tuple(transforms))

    def shuffled(self, step: tf.Tensor, first: tf.Tensor, rows: int) -> Batch:
        """Return rows [first, first + rows) of a training step's global batch."""
        index, valid = self.order.rows(step, first, rows)
        return self._batch(index, valid, step, first, rows, training=True)

    def in_order(self, first: tf.Tensor, rows: int) -> Batch:
        """Return examples [first, first + rows) as they are stored; rows after the last one are padding."""
        row = tf.cast(first, tf.int64) + tf.range(rows, dtype=tf.int64)
        return self._batch(row % self.examples, row < self.examples, 0, first, rows, training=False)

    def _batch(
        self, index: tf.Tensor, valid: tf.Tensor, step: tf.Tensor, first: tf.Tensor, rows: int, *, training: bool
    ) -> Batch:
        def uniform(name: str, kind: str, width: int) -> tf.Tensor | None:
            if kind == "none":
                return None
            if kind == "example":
                return Noise(FIXED_SEED, f"{name}/{self.split}").uniform_of(index, width)
            return Noise(self.order.seed, f"{name}/{self.split}").uniform(step, first, rows, width)

        pixels = self.source.gather(index)
        for number, transform in enumerate(self.transforms):
            if training or not transform.training_only:
                pixels = transform(pixels, uniform(f"transform/{number}", transform.noise, transform.noise_size))
        noise = uniform("binarization", self.binarization.noise, math.prod(self.x_shape))
        x = self.binarization(pixels, None if noise is None else tf.reshape(noise, (rows, *self.x_shape)))
        return Batch(tf.ensure_shape(x, (rows, *self.x_shape)), tf.cast(valid, tf.float32))

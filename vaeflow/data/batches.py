"""Rows of a global batch as the step needs them: gathered, binarized, with what is padding marked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.data.order import Order
from vaeflow.data.source import Source, source_of

if TYPE_CHECKING:
    from vaeflow.contracts import Binarization, Split

FIXED_SEED = 0  # a fixed binarization is a data set of its own: the same for every run


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
        x_shape: X.
        binarization: pixels to x.
        order: the order of training.
    """

    split: str
    source: Source
    examples: int
    x_shape: tuple[int, ...]
    binarization: Binarization
    order: Order

    @classmethod
    def of(cls, split: str, data: Split, binarization: Binarization, *, seed: int, batch_size: int) -> Batches:
        """Return batches of a split.

        Args:
            split: its name.
            data: its examples.
            binarization: pixels to x.
            seed: the run's seed.
            batch_size: the global batch.
        """
        order = Order(seed, len(data), batch_size)
        return cls(split, source_of(data.x), len(data), tuple(data.x.shape[1:]), binarization, order)

    def shuffled(self, step: tf.Tensor, first: tf.Tensor, rows: int) -> Batch:
        """Return rows [first, first + rows) of a training step's global batch."""
        index, valid = self.order.rows(step, first, rows)
        return self._batch(index, valid, step, first, rows)

    def in_order(self, first: tf.Tensor, rows: int) -> Batch:
        """Return examples [first, first + rows) as they are stored; past the last one there is padding."""
        row = tf.cast(first, tf.int64) + tf.range(rows, dtype=tf.int64)
        return self._batch(row % self.examples, row < self.examples, 0, first, rows)

    def _batch(self, index: tf.Tensor, valid: tf.Tensor, step: tf.Tensor, first: tf.Tensor, rows: int) -> Batch:
        pixels = self.source.gather(index)
        x = self.binarization(pixels, self._uniform(index, step, first, rows))
        return Batch(tf.ensure_shape(x, (rows, *self.x_shape)), tf.cast(valid, tf.float32))

    def _uniform(self, index: tf.Tensor, step: tf.Tensor, first: tf.Tensor, rows: int) -> tf.Tensor | None:
        width = math.prod(self.x_shape)
        if self.binarization.noise == "none":
            return None
        if self.binarization.noise == "example":
            flat = Noise(FIXED_SEED, f"binarization/{self.split}").uniform_of(index, width)
        else:
            flat = Noise(self.order.seed, f"binarization/{self.split}").uniform(step, first, rows, width)
        return tf.reshape(flat, (rows, *self.x_shape))

"""The order of examples, computed from (seed, step) without a buffer, so that a resume replays nothing."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from vaeflow.data.noise import Noise

# With TensorFlow's default of 4 the high bits still depend on the position: batches would not be random samples.
ROUNDS = 24


@dataclass(frozen=True)
class Order:
    """Step s of epoch e takes positions [s*B, (s+1)*B) of a permutation that is computed from (seed, e).

    Attributes:
        seed: the run's seed.
        examples: N, the training examples.
        batch_size: B, the global batch.
    """

    seed: int
    examples: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the examples; the last one's batch may be short."""
        return -(-self.examples // self.batch_size)

    def rows(self, step: tf.Tensor, first: tf.Tensor, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return rows [first, first + rows) of a step's global batch.

        Args:
            step: the step since the start of the run, from 0.
            first: row in the global batch.
            rows: number of rows; rows after the batch or after the epoch's last example are padding.

        Returns:
            Indices of examples [rows] int64, and whether each is valid, not padding [rows] bool. Padding repeats
            examples from the start of the epoch.
        """
        step = tf.cast(step, tf.int64)
        row = tf.cast(first, tf.int64) + tf.range(rows, dtype=tf.int64)
        epoch, step_in_epoch = step // self.steps_per_epoch, step % self.steps_per_epoch
        position = step_in_epoch * self.batch_size + row
        valid = (row < self.batch_size) & (position < self.examples)
        return self._permuted(epoch, position % self.examples), valid

    def _permuted(self, epoch: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        # A block cipher cut to [0, N): any position of any epoch without a table of the others. For N up to 65536 it
        # takes only the low 8 bits of each word of its key, so the epoch cannot be a word: neighbours would be alike.
        shuffled = tf.raw_ops.RandomIndexShuffle(
            index=tf.cast(position, tf.uint64),
            seed=Noise(self.seed, "order").bits(epoch, 0, 1, 3)[0],
            max_index=tf.constant(self.examples - 1, tf.uint64),
            rounds=ROUNDS,
        )
        return tf.cast(shuffled, tf.int64)

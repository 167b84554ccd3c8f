"""Dynamic loss scaling for float16 (Micikevicius et al. 2018), so that small gradients do not underflow."""

from __future__ import annotations

import tensorflow as tf

GROWTH_STEPS = 2000
SMALLEST, LARGEST = 2.0**-24, 2.0**24


class LossScale:
    """A power of two that multiplies the loss; halved when a gradient overflows, doubled after 2000 good steps.

    Args:
        initial: the scale at the start; 1 without `dynamic` means no scaling.
        dynamic: whether it adapts to the gradients.
    """

    def __init__(self, initial: float = 1.0, *, dynamic: bool = False) -> None:
        self.dynamic = dynamic
        self.scale = tf.Variable(initial, trainable=False, dtype=tf.float32, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="good_steps")

    @classmethod
    def for_precision(cls, precision: str, rows: int) -> LossScale:
        """Return dynamic scaling for mixed_float16, and none for other precisions, which have float32's range.

        Args:
            precision: the config's.
            rows: examples in a microbatch; the loss is their sum, so the scale starts at 2^15 divided by about as many.
        """
        return cls(2.0 ** (15 - rows.bit_length()), dynamic=True) if precision == "mixed_float16" else cls()

    @property
    def variables(self) -> list[tf.Variable]:
        """The state that a checkpoint stores."""
        return [self.scale, self.good_steps]

    def next(self, finite: tf.Tensor) -> list[tf.Tensor]:
        """Return the variables' next values after a step whose gradients were finite or not."""
        if not self.dynamic:
            return [tf.identity(self.scale), tf.identity(self.good_steps)]
        good = tf.where(finite, self.good_steps + 1, tf.constant(0, tf.int64))
        grow = good >= GROWTH_STEPS
        scale = tf.where(finite, tf.where(grow, self.scale * 2.0, self.scale), self.scale / 2.0)
        return [tf.clip_by_value(scale, SMALLEST, LARGEST), tf.where(grow, tf.constant(0, tf.int64), good)]

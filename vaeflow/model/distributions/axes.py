"""Sums over the axes of one example."""

from __future__ import annotations

import tensorflow as tf


def sum_example(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Return the sum over the last `rank` axes, those of one example.

    Args:
        values: [..., *X].
        rank: number of axes of X.

    Returns:
        [...].

    >>> sum_example(tf.ones((5, 2, 3, 4)), rank=2).shape
    TensorShape([5, 2])
    """
    return tf.reduce_sum(values, axis=list(range(-rank, 0)))

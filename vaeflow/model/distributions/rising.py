"""The ratio of two values of the gamma function, which distributions of counts and levels have in common."""

from __future__ import annotations

import tensorflow as tf

MANY = 16.0  # from here on Stirling's series of log G is exact in float32


def log_rising(start: tf.Tensor, count: tf.Tensor | float) -> tf.Tensor:
    """Return log(G(start + count) / G(start)), for a large start without the difference of two large numbers.

    >>> tf.exp(log_rising(tf.constant([1.0, 3.0]), 2.0)).numpy().round(4).tolist()
    [2.0, 12.0]
    """
    few, many = tf.minimum(start, MANY), tf.maximum(start, MANY)
    exact, total = tf.math.lgamma(few + count) - tf.math.lgamma(few), many + count
    series = (many - 0.5) * tf.math.log1p(count / many) + count * tf.math.log(total) - count
    rest = (1.0 / total - 1.0 / many) / 12.0 - (1.0 / total**3 - 1.0 / many**3) / 360.0
    return tf.where(start < MANY, exact, series + rest)

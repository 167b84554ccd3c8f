"""The categorical likelihood: each element is one of K levels from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example


def level_of(value: tf.Tensor, levels: int) -> tf.Tensor:
    """Return the nearest of K levels, whole numbers from 0 to K - 1 in float32, for x in [0, 1].

    Level k is x = k / (K - 1). So bytes, which are divided by 255, are exactly the levels of K = 256.

    >>> level_of(tf.constant([0.0, 0.3, 1.0]), levels=4).numpy().tolist()
    [0.0, 1.0, 3.0]
    """
    return tf.round(tf.clip_by_value(value, 0.0, 1.0) * (levels - 1.0))


@dataclass(frozen=True)
class Categorical:
    """Independent categorical variables over the levels 0, 1 / (K - 1), ..., 1.

    Attributes:
        logits: log-probabilities of the levels up to a constant, [..., *X, K] float32.
        rank: number of axes of X.
    """

    logits: tf.Tensor
    rank: int

    @property
    def levels(self) -> int:
        """K."""
        return int(self.logits.shape[-1])

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return levels in [0, 1] for uniform noise in (0, 1), [..., *X], through the quantile function."""
        below = tf.cumsum(self._probabilities(), axis=-1)[..., :-1]
        level = tf.reduce_sum(tf.cast(noise[..., None] > below, tf.float32), axis=-1)
        return level / (self.levels - 1.0)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the levels nearest to x [..., *X], [...] in nats."""
        level = tf.one_hot(tf.cast(level_of(value, self.levels), tf.int32), self.levels)
        return sum_example(tf.reduce_sum(level * tf.nn.log_softmax(self.logits), axis=-1), self.rank)

    def mean(self) -> tf.Tensor:
        """Return the expected x, [..., *X] in [0, 1]."""
        return tf.reduce_sum(self._probabilities() * tf.linspace(0.0, 1.0, self.levels), axis=-1)

    def _probabilities(self) -> tf.Tensor:
        """Return the probabilities of the levels, [..., *X, K]; TensorFlow's softmax has at most five axes on CPUs."""
        return tf.exp(tf.nn.log_softmax(self.logits))

"""The Bernoulli likelihood of binary pixels, from logits."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example


@dataclass(frozen=True)
class Bernoulli:
    """Independent Bernoulli variables, p(x given z) in the article.

    Attributes:
        logits: log k / (1 - k) for the expected pixel values k, [..., *X] float32.
        rank: number of axes of X.
    """

    logits: tf.Tensor
    rank: int

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return 0 or 1 for uniform noise in (0, 1), [..., *X]: 1 where the noise is below k."""
        return tf.cast(noise < self.mean(), tf.float32)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return sum_c x_c log k_c + (1 - x_c) log(1 - k_c) (equation 12), [...] in nats, for x [..., *X]."""
        # x * l - softplus(l) is the cross entropy without its logarithms of rounded probabilities.
        return sum_example(value * self.logits - tf.math.softplus(self.logits), self.rank)

    def mean(self) -> tf.Tensor:
        """Return k, [..., *X]."""
        return tf.math.sigmoid(self.logits)

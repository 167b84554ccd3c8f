"""The Laplace likelihood of real values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace variables, with density `exp(-|x - mu| / b) / (2 b)` of each element.

    Attributes:
        mu: [..., *X] float32.
        log_scale: log b, float32 or a number, broadcast against `mu`.
        rank: number of axes of X.
    """

    mu: tf.Tensor
    log_scale: tf.Tensor | float
    rank: int

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X], through the Laplace quantile function."""
        away = noise - 0.5
        return self.mu - tf.exp(self.log_scale) * tf.sign(away) * tf.math.log1p(-2.0 * tf.abs(away))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of x [..., *X], [...] in nats."""
        log_scale = tf.convert_to_tensor(self.log_scale, tf.float32)
        return sum_example(-tf.abs(value - self.mu) * tf.exp(-log_scale) - log_scale - LOG_2, self.rank)

    def mean(self) -> tf.Tensor:
        """Return mu, [..., *X]."""
        return self.mu

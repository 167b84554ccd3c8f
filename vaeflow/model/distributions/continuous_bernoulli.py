"""The continuous Bernoulli likelihood of pixels in [0, 1] (Loaiza-Ganem and Cunningham, 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example

# Below this |logit| the normaliser is 0/0 in float32: there its series is used.
SMALL_LOGIT = 0.1


def _away_from_zero(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the series is used, and logits with a constant there, so that no gradient is NaN."""
    small = tf.abs(logits) < SMALL_LOGIT
    return small, tf.where(small, tf.ones_like(logits), logits)


def log_normaliser(logits: tf.Tensor) -> tf.Tensor:
    """Return log C per element, nats: C is the normaliser of k^x (1-k)^(1-x) over [0, 1].

    With logit l, C = l / tanh(l / 2), written in absolute values; near 0, log C = log 2 + l^2 / 12 - 7 l^4 / 1440.

    >>> round(float(log_normaliser(tf.constant(0.0))), 6)
    0.693147
    """
    small, safe = _away_from_zero(logits)
    size = tf.abs(safe)
    exact = tf.math.log(size) - tf.math.log(tf.math.tanh(0.5 * size))
    square = tf.square(tf.where(small, logits, tf.zeros_like(logits)))
    return tf.where(small, tf.math.log(2.0) + square / 12.0 - 7.0 * tf.square(square) / 1440.0, exact)


@dataclass(frozen=True)
class ContinuousBernoulli:
    """Independent continuous Bernoulli variables on [0, 1].

    Attributes:
        logits: log k / (1 - k) of the shape parameter k, [..., *X] float32; k is not the mean.
        rank: number of axes of X.
    """

    logits: tf.Tensor
    rank: int

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x in [0, 1] for uniform noise in (0, 1), [..., *X], through the quantile function.

        With logit l the quantile of u is log(1 + u (e^l - 1)) / l; for l < 0 it is taken at -l and 1 - u.
        """
        small, safe = _away_from_zero(self.logits)
        size = tf.abs(safe)
        u = tf.where(safe > 0, noise, 1.0 - noise)
        # The logarithm of e^l (u + (1 - u) e^-l) does not overflow if it is split.
        quantile = (size + tf.math.log(u + (1.0 - u) * tf.exp(-size))) / size
        exact = tf.where(safe > 0, quantile, 1.0 - quantile)
        spread = noise * (1.0 - noise)
        series = noise + spread * (self.logits / 2.0 + tf.square(self.logits) * (1.0 - 2.0 * noise) / 6.0)
        return tf.clip_by_value(tf.where(small, series, exact), 0.0, 1.0)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of x [..., *X] in [0, 1], [...] in nats."""
        unnormalised = value * self.logits - tf.math.softplus(self.logits)
        return sum_example(unnormalised + log_normaliser(self.logits), self.rank)

    def mean(self) -> tf.Tensor:
        """Return the mean, 1 / (1 - e^-l) - 1 / l, [..., *X]; near l = 0, 1/2 + l / 12 - l^3 / 720."""
        small, safe = _away_from_zero(self.logits)
        # coth instead of 1 / (1 - e^-l), whose gradient is inf / inf for l below -88.
        exact = 0.5 + 0.5 / tf.math.tanh(0.5 * safe) - 1.0 / safe
        near = 0.5 + self.logits / 12.0 - self.logits**3 / 720.0
        return tf.where(small, near, exact)

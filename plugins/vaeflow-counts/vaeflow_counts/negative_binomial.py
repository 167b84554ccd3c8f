"""The negative binomial distribution of counts, and the same with additional zeros."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions import log_rising

SEARCH_STEPS = 24  # halve the counts below 2^24, which are exact in float32


@dataclass(frozen=True)
class NegativeBinomial:
    """Independent negative binomial variables with mean mu and variance mu + mu^2 / theta.

    p(k) = G(k + theta) / (G(theta) k!) (theta / (theta + mu))^theta (mu / (theta + mu))^k, with the gamma function G.

    Attributes:
        log_mean: log mu of the counts, [..., *X] float32.
        log_dispersion: log theta, [*X] float32.
        rank: number of axes of X.
        counts_per_unit: the count that x = 1 stands for.
    """

    log_mean: tf.Tensor
    log_dispersion: tf.Tensor
    rank: int
    counts_per_unit: float = 1.0

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the counts nearest to x [..., *X], [...] in nats."""
        return self.sum_example(self.log_prob_of_elements(value))

    def log_prob_of_elements(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of each element, [..., *X]."""
        counts, theta = tf.round(value * self.counts_per_unit), tf.exp(self.log_dispersion)
        odds = self.log_mean - self.log_dispersion  # log(mu / theta)
        ways = log_rising(theta, counts) - tf.math.lgamma(counts + 1.0)
        return ways - theta * tf.math.softplus(odds) - counts * tf.math.softplus(-odds)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X], through the quantile function of the counts."""
        theta, success = tf.exp(self.log_dispersion), tf.sigmoid(self.log_dispersion - self.log_mean)
        shape = tf.broadcast_dynamic_shape(tf.shape(noise), tf.shape(self.log_mean))
        theta, success, noise = (tf.broadcast_to(one, shape) for one in (theta, success, noise))
        low, high = -tf.ones_like(noise), tf.fill(tf.shape(noise), 2.0**SEARCH_STEPS)
        for _ in range(SEARCH_STEPS + 1):
            middle = tf.floor(0.5 * (low + high))
            enough = tf.math.betainc(theta, middle + 1.0, success) >= noise
            low, high = tf.where(enough, low, middle), tf.where(enough, middle, high)
        return high / self.counts_per_unit

    def mean(self) -> tf.Tensor:
        """Return the expected x, mu over `counts_per_unit`, [..., *X]."""
        return tf.exp(self.log_mean) / self.counts_per_unit

    def sum_example(self, elements: tf.Tensor) -> tf.Tensor:
        """Return the sum over X, [...]."""
        return tf.reduce_sum(elements, axis=list(range(-self.rank, 0)))


@dataclass(frozen=True)
class ZeroInflated:
    """Zeros with probability sigmoid(logits), else negative binomial variables.

    Attributes:
        counts: those variables.
        logits: [..., *X].
    """

    counts: NegativeBinomial
    logits: tf.Tensor

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the counts nearest to x [..., *X], [...] in nats."""
        of_counts = self.counts.log_prob_of_elements(value) - tf.math.softplus(self.logits)
        of_zeros = -tf.math.softplus(-self.logits)
        either = tf.maximum(of_counts, of_zeros) + tf.math.log1p(tf.exp(-tf.abs(of_counts - of_zeros)))
        zero = tf.round(value * self.counts.counts_per_unit) == 0.0
        return self.counts.sum_example(tf.where(zero, either, of_counts))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X]."""
        none = tf.sigmoid(self.logits)
        left = tf.clip_by_value((noise - none) / tf.maximum(1.0 - none, 1e-7), 1e-7, 1.0 - 1e-7)
        return tf.where(noise < none, 0.0, self.counts.sample(left))

    def mean(self) -> tf.Tensor:
        """Return the expected x, [..., *X]."""
        return self.counts.mean() * tf.sigmoid(-self.logits)

"""The Poisson likelihood of counts, from logarithms of rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example

MANY = 16.0  # from here on Stirling's series of log k! is exact in float32
LARGE_RATE = 256.0  # above it, the quantile is Cornish and Fisher's expansion instead of a search
SEARCH_STEPS = 9  # halve 0 to the largest quantile at LARGE_RATE, about 360


def _log_mode(counts: tf.Tensor) -> tf.Tensor:
    """Return log(k! / (k^k e^-k)) for counts k of 1 or more: minus the largest log p of k over all rates.

    As one number this has no cancellation, unlike its terms, which are millions of nats for a million counts.
    """
    few = tf.minimum(counts, MANY)
    exact = tf.math.lgamma(few + 1.0) - few * tf.math.log(few) + few
    many = tf.maximum(counts, MANY)
    series = 0.5 * tf.math.log(2.0 * math.pi * many) + 1.0 / (12.0 * many) - 1.0 / (360.0 * many**3)
    return tf.where(counts < MANY, exact, series)


def _searched(noise: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Return the smallest count whose distribution function is at least the noise, for rates up to LARGE_RATE."""
    low, high = -tf.ones_like(rate), tf.floor(rate + 6.0 * tf.sqrt(rate) + 12.0)
    for _ in range(SEARCH_STEPS):
        middle = tf.floor(0.5 * (low + high))
        enough = tf.math.igammac(middle + 1.0, rate) >= noise
        low, high = tf.where(enough, low, middle), tf.where(enough, middle, high)
    return high


def _expanded(noise: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Return the quantile for large rates: Cornish and Fisher's expansion, rounded; infinite for an infinite rate."""
    z, sigma = tf.math.ndtri(noise), tf.sqrt(rate)
    return tf.round(rate * (1.0 + z / sigma) + (z**2 - 1.0) / 6.0 + (z - z**3) / (72.0 * sigma))


@dataclass(frozen=True)
class Poisson:
    """Independent Poisson variables: x times `counts_per_unit` are counts.

    Attributes:
        log_rate: logarithm of the expected count, [..., *X] float32.
        rank: number of axes of X.
        counts_per_unit: the count that x = 1 stands for.
    """

    log_rate: tf.Tensor
    rank: int
    counts_per_unit: float = 1.0

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X], through the quantile function of the counts."""
        rate = tf.exp(self.log_rate)
        few = _searched(noise, tf.minimum(rate, LARGE_RATE))
        many = _expanded(noise, tf.maximum(rate, LARGE_RATE))
        return tf.where(rate <= LARGE_RATE, few, many) / self.counts_per_unit

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the counts nearest to x [..., *X], [...] in nats.

        With count k and log rate l = log k + d, log p = -log(k! / (k^k e^-k)) - k (e^d - 1 - d). This is
        k l - e^l - log k! without the difference of large terms (Loader 2000, "Fast and accurate computation of
        binomial probabilities").
        """
        counts = tf.round(value * self.counts_per_unit)
        some = tf.maximum(counts, 1.0)
        d = self.log_rate - tf.math.log(some)
        of_some = -_log_mode(some) - some * (tf.math.expm1(d) - d)
        return sum_example(tf.where(counts > 0.0, of_some, -tf.exp(self.log_rate)), self.rank)

    def mean(self) -> tf.Tensor:
        """Return the expected x, the rate over `counts_per_unit`, [..., *X]."""
        return tf.exp(self.log_rate) / self.counts_per_unit

"""The beta-binomial likelihood of levels, and bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.model.distributions import log_rising

if TYPE_CHECKING:
    from vaeflow.contracts import Terms


@keras.saving.register_keras_serializable(package="vaeflow_images")
@dataclass(frozen=True)
class BetaBinomialLikelihood:
    """A likelihood without variables.

    Attributes:
        x_shape: X.
        levels: K.
    """

    x_shape: tuple[int, ...]
    levels: int

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P: log alpha and log beta for each element, beside each other on the last axis."""
        return (*self.x_shape[:-1], 2 * self.x_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"x_shape": list(self.x_shape), "levels": self.levels}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BetaBinomialLikelihood:
        """Return the likelihood of a config."""
        return cls(tuple(config["x_shape"]), config["levels"])

    def distribution(self, parameters: tf.Tensor) -> BetaBinomial:
        """Return p(x given z) for parameters [..., *P]."""
        log_alpha, log_beta = tf.split(parameters, 2, axis=-1)
        return BetaBinomial(log_alpha, log_beta, self.levels, len(self.x_shape))


@dataclass(frozen=True)
class BetaBinomial:
    """Independent numbers of successes in n = K - 1 trials, as levels k / n of x in [0, 1].

    p(k) = n! / (k! (n - k)!) B(k + alpha, n - k + beta) / B(alpha, beta), with the beta function B. So the variance of
    a level can be anything from that of a binomial variable to that of a coin.

    Attributes:
        log_alpha: [..., *X] float32.
        log_beta: [..., *X] float32.
        levels: K.
        rank: number of axes of X.
    """

    log_alpha: tf.Tensor
    log_beta: tf.Tensor
    levels: int
    rank: int

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of the levels nearest to x [..., *X] in [0, 1], [...] in nats."""
        trials = self.levels - 1.0
        level = tf.round(tf.clip_by_value(value, 0.0, 1.0) * trials)
        return tf.reduce_sum(self._log_prob_of(level), axis=list(range(-self.rank, 0)))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X], through the quantile function, level by level."""

        def next_level(level: tf.Tensor, below: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, ...]:
            below += tf.exp(self._log_prob_of(level))
            return level + 1.0, below, found + tf.cast(noise > below, tf.float32)

        zeros = tf.zeros(tf.broadcast_dynamic_shape(tf.shape(noise), tf.shape(self.log_alpha)))
        last = self.levels - 1.0
        return tf.while_loop(lambda level, *_: level < last, next_level, (0.0, zeros, zeros))[2] / last

    def mean(self) -> tf.Tensor:
        """Return the expected x, alpha / (alpha + beta), [..., *X]."""
        return tf.sigmoid(self.log_alpha - self.log_beta)

    def _log_prob_of(self, level: tf.Tensor) -> tf.Tensor:
        trials = self.levels - 1.0
        alpha, beta = tf.exp(self.log_alpha), tf.exp(self.log_beta)
        ways = math.lgamma(trials + 1.0) - tf.math.lgamma(level + 1.0) - tf.math.lgamma(trials - level + 1.0)
        rising = log_rising(alpha, level) + log_rising(beta, trials - level) - log_rising(alpha + beta, trials)
        return ways + rising


def bits_per_dimension(x: tf.Tensor, terms: Terms) -> tf.Tensor:
    """Return the negative ELBO of each example in bits, over the elements of x [B, *X], [B]."""
    elements = math.prod(x.shape[1:])
    return (terms.kl - tf.reduce_mean(terms.log_likelihood, axis=0)) / (elements * math.log(2.0))

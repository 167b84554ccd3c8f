"""Mixtures of normal distributions over latents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from vaeflow.model.distributions.normal import log_normal

TAIL = 1e-6  # the probability at each end of a component that `sample` leaves out


@dataclass(frozen=True)
class DiagonalNormalMixture:
    """A mixture of K normal distributions over D latents, each with a diagonal covariance.

    Attributes:
        logits: of the weights, [K] float32.
        mu: [K, D] float32.
        log_var: log sigma^2, [K, D] float32.
    """

    logits: tf.Tensor
    mu: tf.Tensor
    log_var: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return z for standard normal noise [..., D].

        The first number also chooses the component: its share u of the standard normal distribution is uniform, and
        falls into one of K intervals as long as the weights. Within the interval it is uniform again, and becomes the
        normal number of the first dimension.
        """
        weights = tf.nn.softmax(self.logits)
        ends = tf.cumsum(weights)
        u = 0.5 * tf.math.erfc(-noise[..., 0] / math.sqrt(2.0))
        chosen = tf.reduce_sum(tf.cast(u[..., None] > ends[:-1], tf.int32), axis=-1)
        within = (u - tf.gather(ends - weights, chosen)) / tf.gather(weights, chosen)
        first = tf.math.ndtri(tf.clip_by_value(within, TAIL, 1.0 - TAIL))
        own = tf.concat([first[..., None], noise[..., 1:]], axis=-1)
        return tf.gather(self.mu, chosen) + tf.exp(0.5 * tf.gather(self.log_var, chosen)) * own

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [..., D], [...] in nats: log sum_k w_k N(z; mu_k, diag(sigma_k^2))."""
        each = tf.reduce_sum(log_normal(value[..., None, :], self.mu, self.log_var), axis=-1)
        return tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + each, axis=-1)

    def mean(self) -> tf.Tensor:
        """Return the mean, sum_k w_k mu_k, [D]."""
        return tf.linalg.matvec(self.mu, tf.nn.softmax(self.logits), transpose_a=True)

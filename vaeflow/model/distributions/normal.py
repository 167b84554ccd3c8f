"""Normal distributions: the posterior and the prior of the article, and a likelihood of real values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.model.distributions.axes import sum_example

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution

LOG_2PI = math.log(2.0 * math.pi)


def log_normal(value: tf.Tensor, mean: tf.Tensor, log_var: tf.Tensor | float) -> tf.Tensor:
    """Return log N(value; mean, exp(log_var)) of each element, nats.

    >>> round(float(log_normal(tf.constant(1.0), tf.constant(0.0), tf.constant(0.0))), 4)
    -1.4189
    """
    log_var = tf.convert_to_tensor(log_var, tf.float32)
    return -0.5 * (LOG_2PI + log_var + tf.square(value - mean) * tf.exp(-log_var))


@dataclass(frozen=True)
class DiagonalNormal:
    """N(mu, diag(sigma^2)) over latents, q(z given x) in the article.

    Attributes:
        mu: [B, D] float32, or [D] for a prior.
        log_var: log sigma^2, of the same shape.
    """

    mu: tf.Tensor
    log_var: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return mu + sigma * noise (equation 9) for standard normal noise [L, B, D]."""
        return self.mu + tf.exp(0.5 * self.log_var) * noise

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [L, B, D], [L, B] in nats."""
        return tf.reduce_sum(log_normal(value, self.mu, self.log_var), axis=-1)

    def mean(self) -> tf.Tensor:
        """Return mu, [B, D]."""
        return self.mu


def diagonal_normal_kl(q: DiagonalNormal, p: DiagonalNormal) -> tf.Tensor:
    """Return KL(q, p) per latent dimension, [B, D] in nats.

    Each term is (log sigma_p^2 - log sigma_q^2 - 1 + (sigma_q^2 + (mu_q - mu_p)^2) / sigma_p^2) / 2; for p = N(0, I)
    it is that of `StandardNormal.kl_terms`.

    >>> same = DiagonalNormal(tf.zeros((1, 1)), tf.zeros((1, 1)))
    >>> wide = DiagonalNormal(tf.ones((1,)), tf.fill((1,), 2.0 * math.log(2.0)))
    >>> round(float(diagonal_normal_kl(same, wide)[0, 0]), 4)
    0.4431
    """
    difference = q.log_var - p.log_var
    return 0.5 * (tf.exp(difference) + tf.square(q.mu - p.mu) * tf.exp(-p.log_var) - 1.0 - difference)


@keras.saving.register_keras_serializable(package="vaeflow")
@dataclass(frozen=True)
class StandardNormal:
    """N(0, I) over D latents, p(z) in the article.

    Attributes:
        size: D.
    """

    size: int

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"size": self.size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StandardNormal:
        """Return the prior of a config."""
        return cls(**config)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return the standard normal noise [..., D] unchanged."""
        return noise

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [..., D], [...] in nats."""
        return -0.5 * tf.reduce_sum(LOG_2PI + tf.square(value), axis=-1)

    def mean(self) -> tf.Tensor:
        """Return zeros, [D]."""
        return tf.zeros((self.size,))

    def kl_terms(self, q: Distribution) -> tf.Tensor | None:
        """Return KL(q, p) per latent dimension if q is a `DiagonalNormal`, else None.

        Each term is -(1 + log sigma^2 - mu^2 - sigma^2) / 2, the article's closed form (second term of equation 12).

        Returns:
            [B, D] in nats.
        """
        if type(q) is not DiagonalNormal:  # a subclass may have another density
            return None
        return -0.5 * (1.0 + q.log_var - tf.square(q.mu) - tf.exp(q.log_var))


@dataclass(frozen=True)
class Normal:
    """Independent normals over the elements of x: the Gaussian likelihood.

    Attributes:
        mu: [..., *X] float32.
        log_var: float32 or a number, broadcast against `mu`.
        rank: number of axes of X.
    """

    mu: tf.Tensor
    log_var: tf.Tensor
    rank: int

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return x for uniform noise in (0, 1), [..., *X], through the normal's quantile function."""
        return self.mu + tf.exp(0.5 * self.log_var) * tf.math.ndtri(noise)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of x [..., *X], [...] in nats."""
        return sum_example(log_normal(value, self.mu, self.log_var), self.rank)

    def mean(self) -> tf.Tensor:
        """Return mu, [..., *X]."""
        return self.mu

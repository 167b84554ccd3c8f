"""The Gaussian with a full covariance matrix per example, by its Cholesky factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.model.distributions import StandardNormal
from vaeflow_flows.layers import Layer, dense, small

if TYPE_CHECKING:
    from vaeflow.contracts import Prior


@dataclass(frozen=True)
class FullNormal:
    """N(mu, C C^T) with C = diag(sigma) U, U lower triangular with ones on its diagonal.

    Attributes:
        mu: [B, D] float32.
        log_sigma: [B, D] float32.
        unit: U, [B, D, D] float32.
    """

    mu: tf.Tensor
    log_sigma: tf.Tensor
    unit: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return mu + C noise for standard normal noise [L, B, D]."""
        return self.mu + tf.exp(self.log_sigma) * tf.linalg.matvec(self.unit, noise)

    def sample_and_log_prob(self, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z [L, B, D] and its log-density, [L, B] nats, without solving linear equations."""
        return self.sample(noise), self._log_prob_of(noise)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [L, B, D], [L, B] in nats."""
        scaled_LBD = (value - self.mu) * tf.exp(-self.log_sigma)
        columns_BDL = tf.transpose(scaled_LBD, (1, 2, 0))
        noise_BDL = tf.linalg.triangular_solve(self.unit, columns_BDL)
        return self._log_prob_of(tf.transpose(noise_BDL, (2, 0, 1)))

    def mean(self) -> tf.Tensor:
        """Return mu, [B, D]."""
        return self.mu

    def kl_terms(self, p: Prior) -> tf.Tensor | None:
        """Return KL(q, N(0, I)), [B, 1] nats: (tr C C^T + mu^T mu - D - log det C C^T) / 2; None for other priors."""
        if type(p) is not StandardNormal:  # a subclass may have another density
            return None
        traces_BD = tf.exp(2.0 * self.log_sigma) * tf.reduce_sum(tf.square(self.unit), axis=-1)
        terms_BD = 0.5 * (traces_BD + tf.square(self.mu) - 1.0) - self.log_sigma
        return tf.reduce_sum(terms_BD, axis=-1, keepdims=True)

    def covariance(self) -> tf.Tensor:
        """Return C C^T, [B, D, D]."""
        factor_BDD = tf.exp(self.log_sigma)[..., None] * self.unit
        return tf.matmul(factor_BDD, factor_BDD, transpose_b=True)

    def _log_prob_of(self, noise_LBD: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z by its noise: log N(noise; 0, I) - log det C."""
        return StandardNormal(noise_LBD.shape[-1]).log_prob(noise_LBD) - tf.reduce_sum(self.log_sigma, axis=-1)


def unit_triangular(below_BK: tf.Tensor, size: int) -> tf.Tensor:
    """Return lower triangular matrices with ones on the diagonal.

    Args:
        below_BK: the elements below the diagonal, row by row, [B, D (D - 1) / 2].
        size: D.

    Returns:
        [B, D, D].

    >>> unit_triangular(tf.constant([[2.0, 3.0, 4.0]]), 3).numpy()[0].tolist()
    [[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [3.0, 4.0, 1.0]]
    """
    rows, start = [], 0
    one, zero = tf.ones_like(below_BK[:, :1]), tf.zeros_like(below_BK[:, :1])
    for row in range(size):
        rows.append(tf.concat([below_BK[:, start : start + row], one, *[zero] * (size - row - 1)], axis=1))
        start += row
    return tf.stack(rows, axis=1)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class FullGaussianHead(Layer):
    """q(z given x) = N(mu, C C^T); mu, log sigma and the elements below U's diagonal are linear in the features.

    U starts near the identity.

    Args:
        latent_size: D; with 1 there are no elements below the diagonal, and no head for them.
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__("posterior")
        self.noise_size = latent_size
        below = latent_size * (latent_size - 1) // 2
        self.mu = dense(latent_size, "mu")
        self.log_var = dense(latent_size, "log_var")
        self.below = dense(below, "below", kernel=small()) if below else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self.noise_size}

    def distribution(self, features: tf.Tensor) -> FullNormal:
        """Return q(z given x) for features [B, F]."""
        below_BK = features[:, :1] if self.below is None else self.below(features)
        unit_BDD = unit_triangular(below_BK, self.noise_size)
        return FullNormal(self.mu(features), 0.5 * self.log_var(features), unit_BDD)

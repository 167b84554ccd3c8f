"""Priors with weights, as Keras layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.model.distributions import DiagonalNormal, DiagonalNormalMixture
from vaeflow.model.distributions.normal import diagonal_normal_kl

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution


class DiagonalGaussianPrior(keras.layers.Layer):
    """p(z) = N(mu, diag(sigma^2)) with learned mu and log sigma^2; initially N(0, I).

    Args:
        latent_size: D.
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__(name="prior", dtype="float32")
        self.mu = self.add_weight(shape=(latent_size,), initializer="zeros", name="mu")
        self.log_var = self.add_weight(shape=(latent_size,), initializer="zeros", name="log_var")

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return z for standard normal noise [..., D]."""
        return self._normal().sample(noise)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [..., D], [...] in nats."""
        return self._normal().log_prob(value)

    def mean(self) -> tf.Tensor:
        """Return mu, [D]."""
        return self._normal().mean()

    def kl_terms(self, q: Distribution) -> tf.Tensor | None:
        """Return KL(q, p) per latent dimension, [B, D] in nats, if q is a `DiagonalNormal`, else None."""
        return diagonal_normal_kl(q, self._normal()) if type(q) is DiagonalNormal else None

    def _normal(self) -> DiagonalNormal:
        return DiagonalNormal(tf.convert_to_tensor(self.mu), tf.convert_to_tensor(self.log_var))


class MixtureOfGaussiansPrior(keras.layers.Layer):
    """p(z) = sum_k w_k N(mu_k, diag(sigma_k^2)), with learned weights, means and log sigma^2.

    Args:
        latent_size: D.
        components: K.
        spread: standard deviation of the initial means, which are random.
    """

    def __init__(self, latent_size: int, components: int, spread: float) -> None:
        super().__init__(name="prior", dtype="float32")
        apart, shape = keras.initializers.RandomNormal(stddev=spread), (components, latent_size)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        self.mu = self.add_weight(shape=shape, initializer=apart, name="mu")
        self.log_var = self.add_weight(shape=shape, initializer="zeros", name="log_var")

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return z for standard normal noise [..., D]."""
        return self._mixture().sample(noise)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [..., D], [...] in nats."""
        return self._mixture().log_prob(value)

    def mean(self) -> tf.Tensor:
        """Return the mean, [D]."""
        return self._mixture().mean()

    def kl_terms(self, q: Distribution) -> tf.Tensor | None:  # noqa: ARG002
        """Return None: no closed form of KL(q, p) is known, so samples estimate it."""
        return None

    def _mixture(self) -> DiagonalNormalMixture:
        return DiagonalNormalMixture(*(tf.convert_to_tensor(v) for v in (self.logits, self.mu, self.log_var)))

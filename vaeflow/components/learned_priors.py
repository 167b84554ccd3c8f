"""Priors with weights, as Keras layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal, DiagonalNormalMixture
from vaeflow.model.distributions.normal import diagonal_normal_kl

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, Prior, PriorContext


class NormalPrior(DiagonalNormal):
    """N(mu, diag(sigma^2)) as a prior, for mu and log sigma^2 [D], or [B, D] if they depend on labels."""

    def kl_terms(self, q: Distribution) -> tf.Tensor | None:
        """Return KL(q, p) per latent dimension, [B, D] in nats, if q is a `DiagonalNormal`, else None."""
        return diagonal_normal_kl(q, self) if type(q) is DiagonalNormal else None


@keras.saving.register_keras_serializable(package="vaeflow")
class DiagonalGaussianPrior(keras.layers.Layer):
    """p(z) = N(mu, diag(sigma^2)) with learned mu and log sigma^2; initially N(0, I).

    Args:
        latent_size: D.
        per_class: whether each label has its own mu and log sigma^2, p(z given the label).
    """

    def __init__(self, latent_size: int, *, per_class: bool = False) -> None:
        super().__init__(name="prior", dtype="float32")
        self._per_class, self._shape = per_class, (latent_size,)
        if not per_class:
            self._add_weights(latent_size)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self._shape[0], "per_class": self._per_class}

    def connect(self, context: PriorContext) -> None:
        """Create the weights of each class.

        Raises:
            UsageError: if there are no labels.
        """
        if self._per_class and not context.classes:
            raise UsageError("prior 'diagonal-gaussian': per_class = true needs labels: set condition.labels = true")
        if self._per_class:
            self._add_weights(context.classes, *self._shape)

    def given(self, labels: tf.Tensor) -> Prior:
        """Return p(z given the label) for one-hot labels [..., C]: the same for all, unless `per_class`."""
        if not self._per_class:
            return self._normal()
        return NormalPrior(*(tf.tensordot(labels, tf.convert_to_tensor(v), axes=1) for v in (self.mu, self.log_var)))

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
        return self._normal().kl_terms(q)

    def _add_weights(self, *shape: int) -> None:
        self.mu = self.add_weight(shape=shape, initializer="zeros", name="mu")
        self.log_var = self.add_weight(shape=shape, initializer="zeros", name="log_var")

    def _normal(self) -> NormalPrior:
        if self._per_class:
            raise UsageError("prior 'diagonal-gaussian': per_class = true, so z has a density only given a label")
        return NormalPrior(tf.convert_to_tensor(self.mu), tf.convert_to_tensor(self.log_var))


class MixturePrior(keras.layers.Layer):
    """A prior that is a mixture of normals, which a class computes from its weights."""

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
        """Return the mixture for the weights of this step."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="vaeflow")
class MixtureOfGaussiansPrior(MixturePrior):
    """p(z) = sum_k w_k N(mu_k, diag(sigma_k^2)), with learned weights, means and log sigma^2.

    Args:
        latent_size: D.
        components: K.
        spread: standard deviation of the initial means, which are random.
    """

    def __init__(self, latent_size: int, components: int, spread: float) -> None:
        super().__init__(name="prior", dtype="float32")
        apart, shape = keras.initializers.RandomNormal(stddev=spread), (components, latent_size)
        self.shape, self.spread = shape, spread
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        self.mu = self.add_weight(shape=shape, initializer=apart, name="mu")
        self.log_var = self.add_weight(shape=shape, initializer="zeros", name="log_var")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self.shape[1], "components": self.shape[0], "spread": self.spread}

    def _mixture(self) -> DiagonalNormalMixture:
        return DiagonalNormalMixture(*(tf.convert_to_tensor(v) for v in (self.logits, self.mu, self.log_var)))

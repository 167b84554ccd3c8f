"""A normalizing flow: a diagonal Gaussian transformed by invertible steps.

Shapes: B examples, L samples, D latent dimensions, F features. Log-densities are float32 and in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import keras
import tensorflow as tf

from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow_flows.layers import Layer, dense, loaded, saved

if TYPE_CHECKING:
    from collections.abc import Sequence


class Transform(Protocol):
    """One invertible step, for the features of B examples."""

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the image of z [L, B, D], and log |det d forward / dz|, [L, B] nats."""

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the preimage of z [L, B, D], and log |det d inverse / dz|, [L, B] nats.

        Raises:
            NotImplementedError: if the inverse is not known.
        """


class Step(Protocol):
    """A Keras layer that owns the variables of one step."""

    def given(self, features_BF: tf.Tensor) -> Transform:
        """Return the step for features [B, F]."""


@dataclass(frozen=True)
class Flow:
    """q(z given x): z = f_K(... f_1(z_0)) for z_0 of the base.

    Attributes:
        base: of z_0, N(mu, diag(sigma^2)) over [B, D].
        transforms: f_1 to f_K.
    """

    base: DiagonalNormal
    transforms: tuple[Transform, ...]
    mean_is_exact: ClassVar[bool] = False

    def sample_and_log_prob(self, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z and log q(z given x) = log q(z_0) - sum_k log |det d f_k / d z_(k-1)| (Rezende and Mohamed, eq. 7).

        Args:
            noise: standard normal, [L, B, D].

        Returns:
            z [L, B, D], and its log-density, [L, B] nats.
        """
        # log N(mu + sigma eps; mu, sigma^2), without computing eps from z_0.
        log_base_LB = StandardNormal(noise.shape[-1]).log_prob(noise) - 0.5 * tf.reduce_sum(self.base.log_var, axis=-1)
        z_LBD, log_det_LB = self._forward(self.base.sample(noise))
        return z_LBD, log_base_LB - log_det_LB

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return z [L, B, D] for standard normal noise [L, B, D]."""
        return self.sample_and_log_prob(noise)[0]

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of z [L, B, D], [L, B] nats.

        Raises:
            NotImplementedError: if the inverse of a step is not known.
        """
        log_det_LB = tf.zeros(())
        for transform in reversed(self.transforms):
            value, one_LB = transform.inverse(value)
            log_det_LB += one_LB
        return self.base.log_prob(value) + log_det_LB

    def mean(self) -> tf.Tensor:
        """Return the image of the base's mean, [B, D]: a point near the mean, not the mean."""
        return self._forward(self.base.mean()[None])[0][0]

    def _forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_det_LB = tf.zeros(())
        for transform in self.transforms:
            z_LBD, one_LB = transform.forward(z_LBD)
            log_det_LB += one_LB
        return z_LBD, log_det_LB


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class FlowHead(Layer):
    """Features to a flow: the heads of its base (mu and log sigma^2, linear in the features) and its steps.

    Args:
        latent_size: D.
        steps: Keras layers, each a `Step`.
    """

    def __init__(self, latent_size: int, steps: Sequence[Step]) -> None:
        super().__init__("posterior")
        self.noise_size = latent_size
        self.mu = dense(latent_size, "mu")
        self.log_var = dense(latent_size, "log_var")
        self.steps = list(steps)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self.noise_size, "steps": saved(self.steps)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FlowHead:
        """Return the layer of a config."""
        return cls(**loaded(config, "steps"))

    def distribution(self, features: tf.Tensor) -> Flow:
        """Return q(z given x) for features [B, F]."""
        base = DiagonalNormal(self.mu(features), self.log_var(features))
        return Flow(base, tuple(step.given(features) for step in self.steps))

"""The masked autoregressive flow (Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow_flows.autoregressive import AutoregressiveStep, solve
from vaeflow_flows.conditioner import bounded

if TYPE_CHECKING:
    import numpy as np

    from vaeflow_flows.conditioner import Network


@dataclass(frozen=True)
class MaskedAutoregression:
    """z_i = u_i exp(alpha_i) + mu_i (equation 3), mu_i and alpha_i functions of z of lower rank and the features.

    Attributes:
        network: z to mu and alpha, before alpha is bounded.
        rank: [D].
    """

    network: Network
    rank: np.ndarray

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z given u, by D passes, and sum_i alpha_i, [L, B] nats."""

        def update(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mu, alpha = self._affine(x)
            return z_LBD * tf.exp(alpha) + mu, alpha

        x_LBD, alpha_LBD = solve(update, self.rank, z_LBD)
        return x_LBD, tf.reduce_sum(alpha_LBD, axis=-1)

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return u given z (equation 4), and -sum_i alpha_i (equation 5), [L, B] nats."""
        mu, alpha = self._affine(z_LBD)
        return (z_LBD - mu) * tf.exp(-alpha), -tf.reduce_sum(alpha, axis=-1)

    def _affine(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mu, raw = self.network(z_LBD)
        return mu, bounded(raw)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class MaskedAutoregressiveStep(AutoregressiveStep):
    """The variables of one step of the masked autoregressive flow."""

    transform = MaskedAutoregression

"""The inverse autoregressive flow.

Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow_flows.autoregressive import AutoregressiveStep, solve

if TYPE_CHECKING:
    import numpy as np

    from vaeflow_flows.conditioner import Network

# The paper recommends s of about 1 or 2 at the start, like the bias of an LSTM's forget gate. With 2,
# each step starts as a contraction by 0.88.
GATE_AT_START = 2.0


@dataclass(frozen=True)
class InverseAutoregression:
    """z' = sigma * z + (1 - sigma) * m with sigma = sigmoid(s), the gated update (equations 13 and 14).

    m_i and s_i depend on latents of lower rank than i, and on the features.

    Attributes:
        network: z to m and s.
        rank: [D].
    """

    network: Network
    rank: np.ndarray

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z', and sum_i log sigma_i (equation 11), [L, B] nats."""
        shift, log_sigma = self._affine(z_LBD)
        return tf.exp(log_sigma) * z_LBD + shift, tf.reduce_sum(log_sigma, axis=-1)

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z given z', by D passes, and -sum_i log sigma_i, [L, B] nats."""

        def update(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            shift, log_sigma = self._affine(x)
            return (z_LBD - shift) * tf.exp(-log_sigma), -log_sigma

        x_LBD, log_scale_LBD = solve(update, self.rank, z_LBD)
        return x_LBD, tf.reduce_sum(log_scale_LBD, axis=-1)

    def _affine(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (1 - sigma) m and log sigma."""
        m, s = self.network(z_LBD)
        s += GATE_AT_START
        return tf.sigmoid(-s) * m, tf.math.log_sigmoid(s)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class InverseAutoregressiveStep(AutoregressiveStep):
    """The variables of one step of the inverse autoregressive flow."""

    transform = InverseAutoregression

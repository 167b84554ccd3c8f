"""Affine coupling (Dinh et al., "Density estimation using Real NVP", 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow_flows import masks
from vaeflow_flows.conditioned_step import ConditionedStep
from vaeflow_flows.conditioner import bounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from vaeflow_flows.conditioner import Network


@dataclass(frozen=True)
class Coupling:
    """kept' = kept, changed' = changed * exp(s(kept)) + t(kept) (equations 4 and 5), s and t given the features, too.

    Attributes:
        network: the kept half to t and s, before s is bounded.
        first: latents in the first half.
        swap: whether the second half is kept, else the first is.
    """

    network: Network
    first: int
    swap: bool

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z', and the sum of s (equation 6), [L, B] nats."""
        kept, changed = self._halves(z_LBD)
        t, s = self._affine(kept)
        return self._joined(kept, changed * tf.exp(s) + t), tf.reduce_sum(s, axis=-1)

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z given z' (equation 8), and minus the sum of s, [L, B] nats."""
        kept, changed = self._halves(z_LBD)
        t, s = self._affine(kept)
        return self._joined(kept, (changed - t) * tf.exp(-s)), -tf.reduce_sum(s, axis=-1)

    def _affine(self, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        t, raw = self.network(kept)
        return t, bounded(raw)

    def _halves(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the half that is kept and the half that is changed."""
        halves = (z_LBD[..., : self.first], z_LBD[..., self.first :])
        return halves[::-1] if self.swap else halves

    def _joined(self, kept: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
        return tf.concat([changed, kept] if self.swap else [kept, changed], axis=-1)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class CouplingStep(ConditionedStep):
    """The variables of one step.

    Args:
        latent_size: D, 2 or more.
        hidden: units of each hidden layer.
        activation: of the hidden layers, the name of a Keras activation.
        number: of the step, from 0; every other step keeps the second half of the latents instead of the first.
        conditional: whether there are features.
        scale: factor of the network's outputs.
    """

    def arranged(self, latent_size: int, hidden: Sequence[int], *, reverse: bool) -> list[np.ndarray]:
        """Keep which half is changed, and return the masks of the network's layers."""
        self.first, self.swap = latent_size // 2, reverse
        kept = latent_size - self.first if self.swap else self.first
        return masks.full(kept, hidden, 2 * (latent_size - kept))

    def given(self, features_BF: tf.Tensor | None) -> Coupling:
        """Return the step for features [B, F], or for none."""
        return Coupling(self.conditioner.given(features_BF), self.first, self.swap)

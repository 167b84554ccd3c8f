"""The planar flow (Rezende and Mohamed, "Variational Inference with Normalizing Flows", 2015)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from vaeflow_flows.layers import Layer, dense, small

# softplus(SHIFT) = 1: see `Planar`.
SHIFT = math.log(math.e - 1.0)


@dataclass(frozen=True)
class Planar:
    """f(z) = z + v tanh(w.z + b) with a v that makes f invertible (equation 10, appendix A.1).

    f is invertible where w.v >= -1. The paper gets such a v from any u by moving it along w:
    v = u + (m(w.u) - w.u) w / |w|^2 with m(a) = -1 + softplus(a). Here m(a) = -1 + softplus(a + log(e - 1)): it
    allows the same v, but m(0) = 0, so that u = 0 is the identity. With the paper's m, a small w makes v huge.

    Attributes:
        w: [B, D].
        u: [B, D].
        b: [B, 1].
    """

    w: tf.Tensor
    u: tf.Tensor
    b: tf.Tensor

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return f(z), and log |1 + v.psi| with psi = tanh'(w.z + b) w (equations 11 and 12), [L, B] nats."""
        along_B1 = tf.reduce_sum(self.w * self.u, axis=-1, keepdims=True)
        one_plus_m_B1 = tf.math.softplus(along_B1 + SHIFT)  # 1 + w.v, above 0
        square_B1 = tf.maximum(tf.reduce_sum(tf.square(self.w), axis=-1, keepdims=True), 1e-12)
        v_BD = self.u + (one_plus_m_B1 - 1.0 - along_B1) * self.w / square_B1
        h_LB1 = tf.tanh(tf.reduce_sum(self.w * z_LBD, axis=-1, keepdims=True) + self.b)
        # 1 + (1 - h^2) w.v, as a sum of non-negative terms: no cancellation near w.v = -1.
        det_LB1 = tf.square(h_LB1) + (1.0 - tf.square(h_LB1)) * one_plus_m_B1
        return z_LBD + v_BD * h_LB1, tf.math.log(det_LB1)[..., 0]

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Refuse: the inverse has no closed form."""
        raise NotImplementedError("posterior 'planar' has a density only for its own samples: use sample_and_log_prob")


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class PlanarStep(Layer):
    """w, u and b of one step, linear in the features.

    Args:
        latent_size: D.
        number: of the step, from 0.
    """

    def __init__(self, latent_size: int, *, number: int) -> None:
        super().__init__(f"step_{number}")
        self._config = {"latent_size": latent_size, "number": number}
        # Each step starts with a different direction of length about 1; with equal ones all would learn the same.
        direction = keras.initializers.RandomNormal(stddev=latent_size**-0.5)
        self.w = dense(latent_size, "w", bias=direction)
        self.u = dense(latent_size, "u", kernel=small(), bias=small())
        self.b = dense(1, "b")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dict(self._config)

    def given(self, features_BF: tf.Tensor) -> Planar:
        """Return the step for features [B, F]."""
        return Planar(self.w(features_BF), self.u(features_BF), self.b(features_BF))

"""Sylvester flows (van den Berg et al., "Sylvester Normalizing Flows for Variational Inference", 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow_flows.layers import Layer, dense, loaded, small

if TYPE_CHECKING:
    from vaeflow_flows.bases import Basis, BasisHead

# Below 1, so that 1 + r r~ stays above 0 when a hyperbolic tangent rounds to -1 or 1.
LARGEST_ON_DIAGONAL = 0.999


@dataclass(frozen=True)
class Sylvester:
    """f(z) = z + Q R tanh(R~ Q^T z + b), R and R~ upper triangular, Q with orthonormal columns.

    f is invertible if r_ii r~_ii > -1 for all i, because tanh' is at most 1: in the coordinates Q^T z, f is
    triangular, and increasing in each of them.

    Attributes:
        basis: Q, D by M.
        outer: R, [B, M, M].
        inner: R~, [B, M, M].
        b: [B, M].
    """

    basis: Basis
    outer: tf.Tensor
    inner: tf.Tensor
    b: tf.Tensor

    def forward(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return f(z), and log det (I + diag(tanh') R~ R), [L, B] nats.

        By Sylvester's identity this M by M determinant is that of f's Jacobian, D by D. The matrix is upper
        triangular, so it is the product of 1 + tanh'_i r~_ii r_ii.
        """
        w_LBM = self.basis.coordinates(z_LBD)
        h_LBM = tf.tanh(tf.linalg.matvec(self.inner, w_LBM) + self.b)
        one_plus_BM = 1.0 + tf.linalg.diag_part(self.outer) * tf.linalg.diag_part(self.inner)
        # 1 + (1 - h^2) r r~, as a sum of non-negative terms: no cancellation near r r~ = -1.
        det_LBM = tf.square(h_LBM) + (1.0 - tf.square(h_LBM)) * one_plus_BM
        moved_LBD = self.basis.combination(tf.linalg.matvec(self.outer, h_LBM))
        return z_LBD + moved_LBD, tf.reduce_sum(tf.math.log(det_LBM), axis=-1)

    def inverse(self, z_LBD: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Refuse: the inverse has no closed form."""
        raise NotImplementedError(
            "posterior 'sylvester' has a density only for its own samples: use sample_and_log_prob"
        )


def upper_triangular(elements_BK: tf.Tensor, size: int) -> tf.Tensor:
    """Return upper triangular matrices; a reshape puts each element in a place of its own, not row by row.

    Args:
        elements_BK: K = M (M + 1) / 2.
        size: M.

    Returns:
        [B, M, M].

    >>> upper_triangular(tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), 3).numpy()[0].tolist()
    [[1.0, 2.0, 3.0], [0.0, 5.0, 6.0], [0.0, 0.0, 4.0]]
    """
    square = tf.concat([elements_BK, tf.reverse(elements_BK[:, size:], axis=[-1])], axis=-1)
    return tf.linalg.band_part(tf.reshape(square, (-1, size, size)), 0, -1)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class UpperTriangle(Layer):
    """Features to an upper triangular matrix whose diagonal is in (-1, 1).

    Args:
        size: M.
        name: of the layer.
        kernel: initializer of the kernel.
        bias: initializer of the bias.
    """

    def __init__(self, size: int, name: str, *, kernel: object, bias: object) -> None:
        super().__init__(name)
        self.size = size
        self._initial = {"kernel": keras.initializers.get(kernel), "bias": keras.initializers.get(bias)}
        self.elements = dense(size * (size + 1) // 2, "elements", **self._initial)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        initial = {name: keras.initializers.serialize(one) for name, one in self._initial.items()}
        return {"size": self.size, "name": self.name, **initial}

    def given(self, features_BF: tf.Tensor) -> tf.Tensor:
        """Return matrices [B, M, M] for features [B, F]."""
        matrix_BMM = upper_triangular(self.elements(features_BF), self.size)
        diagonal_BM = LARGEST_ON_DIAGONAL * tf.tanh(tf.linalg.diag_part(matrix_BMM))
        return tf.linalg.set_diag(matrix_BMM, diagonal_BM)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class SylvesterStep(Layer):
    """Q, R, R~ and b of one step, from the features.

    R starts near 0, so that the step starts near the identity; R~ starts at random, so that the steps differ.

    Args:
        columns: M.
        basis: computes Q, D by M.
        number: of the step, from 0.
    """

    def __init__(self, columns: int, basis: BasisHead, *, number: int) -> None:
        super().__init__(f"step_{number}")
        self.basis, self._numbers = basis, {"columns": columns, "number": number}
        self.outer = UpperTriangle(columns, "outer", kernel=small(), bias=small())
        spread = keras.initializers.RandomNormal(stddev=columns**-0.5)
        self.inner = UpperTriangle(columns, "inner", kernel="glorot_uniform", bias=spread)
        self.b = dense(columns, "b")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**self._numbers, "basis": keras.saving.serialize_keras_object(self.basis)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SylvesterStep:
        """Return the layer of a config."""
        return cls(**loaded(config, "basis"))

    def given(self, features_BF: tf.Tensor) -> Sylvester:
        """Return the step for features [B, F]."""
        return Sylvester(
            self.basis.given(features_BF),
            self.outer.given(features_BF),
            self.inner.given(features_BF),
            self.b(features_BF),
        )

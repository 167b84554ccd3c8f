"""Orthonormal columns Q for Sylvester flows, D by M: from features, or fixed.

Shapes: B examples, L samples, D latents, M columns, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from vaeflow_flows.layers import Layer, dense

TINY = 1e-20


class Basis(Protocol):
    """Orthonormal columns Q [D, M] for each of B examples."""

    def coordinates(self, z_LBD: tf.Tensor) -> tf.Tensor:
        """Return Q^T z, [L, B, M]."""

    def combination(self, w_LBM: tf.Tensor) -> tf.Tensor:
        """Return Q w, [L, B, D]."""


class BasisHead(Protocol):
    """Computes Q from features."""

    def given(self, features_BF: tf.Tensor) -> Basis:
        """Return Q for features [B, F]."""


@dataclass(frozen=True)
class Columns:
    """Q as a matrix.

    Attributes:
        matrix: [B, D, M].
    """

    matrix: tf.Tensor

    def coordinates(self, z_LBD: tf.Tensor) -> tf.Tensor:
        """Return Q^T z, [L, B, M]."""
        return tf.linalg.matvec(self.matrix, z_LBD, transpose_a=True)

    def combination(self, w_LBM: tf.Tensor) -> tf.Tensor:
        """Return Q w, [L, B, D]."""
        return tf.linalg.matvec(self.matrix, w_LBM)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
@dataclass(frozen=True)
class Order:
    """Q as the identity or the reversal of the latents, M = D; it does not depend on features.

    Attributes:
        reverse: whether it reverses them.
    """

    reverse: bool

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"reverse": self.reverse}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Order:
        """Return the object of a config."""
        return cls(**config)

    def given(self, features_BF: tf.Tensor) -> Order:  # noqa: ARG002
        """Return itself."""
        return self

    def coordinates(self, z_LBD: tf.Tensor) -> tf.Tensor:
        """Return Q^T z, [L, B, D]."""
        return tf.reverse(z_LBD, axis=[-1]) if self.reverse else z_LBD

    def combination(self, w_LBM: tf.Tensor) -> tf.Tensor:
        """Return Q w, [L, B, D]."""
        return self.coordinates(w_LBM)


def orthonormal(vectors_BDM: tf.Tensor) -> tf.Tensor:
    """Return the orthonormal columns that Gram and Schmidt's procedure makes of M vectors, M at most D.

    It is a QR decomposition with a positive diagonal of R. The paper uses an iteration that has not converged after a
    fixed number of steps if vectors are nearly dependent. Then the log-determinant would be wrong.

    Returns:
        [B, D, M].

    >>> orthonormal(tf.constant([[[2.0, 5.0], [0.0, 3.0]]])).numpy().round(3).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    q_BDM, r_BMM = tf.linalg.qr(vectors_BDM)
    signs_BM = tf.where(tf.linalg.diag_part(r_BMM) < 0.0, -1.0, 1.0)
    return q_BDM * signs_BM[:, None, :]


def reflections(normals_BDK: tf.Tensor) -> tf.Tensor:
    """Return the product of K Householder reflections, H_1 ... H_K with H v = v - 2 u (u.v) for unit normals u.

    It is I - U S^-1 U^T, where S has the elements of U^T U above its diagonal and 1/2 on it (the compact form of
    Schreiber and Van Loan, 1989).

    Returns:
        [B, D, D].

    >>> reflections(tf.constant([[[3.0], [0.0]]])).numpy().round(3).tolist()
    [[[-1.0, 0.0], [0.0, 1.0]]]
    """
    u_BDK = normals_BDK * tf.math.rsqrt(tf.reduce_sum(tf.square(normals_BDK), axis=1, keepdims=True) + TINY)
    dots_BKK = tf.matmul(u_BDK, u_BDK, transpose_a=True)
    # Half of what the diagonal is, not 1/2: so the product is orthogonal even if rounding left u a little too short.
    s_BKK = tf.linalg.set_diag(tf.linalg.band_part(dots_BKK, 0, -1), 0.5 * tf.linalg.diag_part(dots_BKK))
    solved_BKD = tf.linalg.triangular_solve(s_BKK, tf.linalg.matrix_transpose(u_BDK), lower=False)
    return tf.eye(normals_BDK.shape[1]) - tf.matmul(u_BDK, solved_BKD)


MATRICES = {"orthonormal": orthonormal, "reflections": reflections}
"""What makes Q of vectors, by name."""


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class ColumnsHead(Layer):
    """Q from vectors that are linear in the features; they start in random directions, with lengths of about 1.

    Args:
        latent_size: D.
        count: K, the number of vectors.
        matrix: what makes Q [B, D, M] of the vectors [B, D, K], one of `MATRICES`.
    """

    def __init__(self, latent_size: int, count: int, matrix: str) -> None:
        super().__init__("columns")
        self.shape = (latent_size, count)
        self.matrix = matrix
        # A random bias, because vectors of zero (for features of zero) have no direction.
        start = keras.initializers.RandomNormal(stddev=latent_size**-0.5)
        self.vectors = dense(latent_size * count, "vectors", bias=start)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        latent_size, count = self.shape
        return {"latent_size": latent_size, "count": count, "matrix": self.matrix}

    def given(self, features_BF: tf.Tensor) -> Columns:
        """Return Q for features [B, F]."""
        return Columns(MATRICES[self.matrix](tf.reshape(self.vectors(features_BF), (-1, *self.shape))))

"""Other gradients of samples, with the same values: sticking the landing, and doubly reparameterized.

An importance weight w = p(x, z) / q(z given x) depends on the posterior's weights twice: through z, and through the
density q. The expected gradient through the density is zero for one sample (Roeder et al. 2017, "Sticking the
Landing"), so it may be left out. For several samples, the gradient through z times the normalized importance weight
is unbiased without it (Tucker et al. 2019, "Doubly Reparameterized Gradient Estimators", equation 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from vaeflow.contracts import Posterior


class PathGradient:
    """Multiplies the gradient with respect to samples, see `vaeflow.contracts.PathGradient`."""

    def __init__(self) -> None:
        self._weights: tf.Tensor | None = None

    def weigh(self, weights_LB: tf.Tensor) -> None:
        """Multiply the gradient with respect to sample l of example b by `weights_LB[l, b]`, which has no gradient."""
        self._weights = tf.stop_gradient(weights_LB)

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        """Return samples [L, B, ...] of one group, whose gradient will be multiplied."""

        @tf.custom_gradient
        def same(values: tf.Tensor) -> tuple[tf.Tensor, object]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                # The loss, which is computed after this and before its gradient, has set the weights.
                if self._weights is None:
                    return upstream
                shape = tf.concat([tf.shape(self._weights), tf.ones((upstream.shape.rank - 2,), tf.int32)], axis=0)
                return upstream * tf.reshape(self._weights, shape)

            return tf.identity(values), gradient

        result: tf.Tensor = same(z)
        return result


def log_q_of_samples(posterior: Posterior, features: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Return log q(z given x), [L, B] nats, whose gradient reaches z alone.

    Args:
        posterior: a layer or another object.
        features: [B, F].
        z: [L, B, D].
    """
    weights = getattr(posterior, "trainable_variables", ())
    with keras.StatelessScope(state_mapping=[(v, tf.stop_gradient(tf.convert_to_tensor(v.value))) for v in weights]):
        return posterior.distribution(tf.stop_gradient(features)).log_prob(z)

"""Other gradients of samples, with the same values: sticking the landing, and doubly reparameterized.

An importance weight w = p(x, z) / q(z given x) depends on the posterior's weights twice: through z, and through the
density q. The expected gradient through the density is zero for one sample (Roeder et al. 2017, "Sticking the
Landing"), so it may be left out. For several samples, the gradient through z times the normalized importance weight
is unbiased without it (Tucker et al. 2019, "Doubly Reparameterized Gradient Estimators", equation 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution


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


def log_q_along_samples(q: Distribution, z: tf.Tensor) -> tf.Tensor:
    """Return log q(z given x), [L, B] nats, whose gradient reaches z alone, and not the parameters of q.

    Args:
        q: the posterior, with `log_prob`.
        z: [L, B, D].

    Raises:
        UsageError: if q has no `log_prob`, as that of a planar flow.
    """
    held = tf.stop_gradient(z)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(held)
        log_q = _density(q, held)
    slope = tf.stop_gradient(tape.gradient(log_q, held))
    rise = tf.reduce_sum(slope * (z - held), axis=tf.range(2, tf.rank(z)))  # zero, with the slope as its gradient
    return tf.stop_gradient(log_q) + rise


def _density(q: Distribution, z: tf.Tensor) -> tf.Tensor:
    try:
        if hasattr(q, "log_prob"):
            return q.log_prob(z)
        why = f"its distribution {type(q).__name__} has none"
    except NotImplementedError as error:
        why = str(error)
    raise UsageError(
        f"the objective's gradient needs the posterior's log_prob(z): {why}; choose another posterior, or an objective "
        "with the ordinary gradient, such as objective.gradient=total"
    )

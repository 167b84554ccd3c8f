"""The values that are summed over microbatches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class Part(NamedTuple):
    """Sums over the valid examples of one microbatch; sums over microbatches are the batch's.

    Attributes:
        gradients: of the summed loss, one per trainable variable, float32.
        state: the layers' state (such as batch normalization's averages), times the number of valid examples.
        sums: [5 + K]: the number of examples; then, in nats, loss, ELBO, log-likelihood, KL divergence, and the K
            columns of `vaeflow.engine.columns`.
    """

    gradients: list[tf.Tensor]
    state: list[tf.Tensor]
    sums: tf.Tensor

"""Shared parts of the autoregressive flows: a masked network per step, and a solver of autoregressive equations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from vaeflow_flows import masks
from vaeflow_flows.conditioned_step import ConditionedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from vaeflow_flows.flow import Transform


def solve(
    update: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], rank_D: np.ndarray, like_LBD: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the x with x = update(x)[0], by D passes and exactly, and update(x)[1].

    Args:
        update: from x [L, B, D] to two tensors of its shape, whose elements of rank r depend on the elements of x of
            rank below r only.
        rank_D: the rank of each latent in the order.
        like_LBD: a tensor of x's shape.

    Returns:
        x and the second tensor, [L, B, D].
    """
    passes = len(rank_D)

    def one_more(rank: tf.Tensor, x: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        candidate, second = update(x)
        # Only final values enter x, so intermediate values can't overflow.
        return rank + 1, tf.where(tf.constant(rank_D, tf.int32) == rank, candidate, x), second

    zeros = tf.zeros_like(like_LBD)
    # A loop instead of D copies of the network in the graph. XLA's gradient needs the largest number of iterations.
    _, x, second = tf.while_loop(
        lambda rank, *_: rank < passes, one_more, (tf.constant(0), zeros, zeros), maximum_iterations=passes
    )
    return x, second


class AutoregressiveStep(ConditionedStep):
    """The variables of one step: a network whose outputs depend on latents of lower rank and the features.

    A subclass says by `transform` which step it is: what makes one of the network and the ranks [D].

    Args:
        latent_size: D.
        hidden: units of each hidden layer.
        activation: of the hidden layers, the name of a Keras activation.
        number: of the step, from 0; every other step ranks the last latent first.
        conditional: whether there are features.
        scale: factor of the network's outputs.
    """

    transform: ClassVar[type[Any]]

    def arranged(self, latent_size: int, hidden: Sequence[int], *, reverse: bool) -> list[np.ndarray]:
        """Keep the ranks of the latents, and return the masks of the network's layers."""
        self.rank = masks.ranks(latent_size, reverse=reverse)
        return masks.autoregressive(latent_size, hidden, reverse=reverse)

    def given(self, features_BF: tf.Tensor | None) -> Transform:
        """Return the step for features [B, F], or for none."""
        step: Transform = self.transform(self.conditioner.given(features_BF), self.rank)
        return step

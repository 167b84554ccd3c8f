"""Gather tensors of all replicas by a sum: each replica fills its own slot, with zeros in the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.distributed.strategies.base import Strategy


def gather(strategy: Strategy, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return each tensor of all replicas, [replicas, *T], on every replica, in a step.

    A sum with zeros is exact, so these are the replicas' own bits (a negative zero becomes a positive one).

    Args:
        strategy: runs the replicas.
        tensors: of the same shapes on all replicas.
    """
    own = [[tf.cast(strategy.replica(), tf.int64)]]
    slots = [tf.scatter_nd(own, t[None], (strategy.replicas, *_shape(t))) for t in tensors]
    return strategy.all_reduce_sum(slots)


def _shape(tensor: tf.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape.as_list())

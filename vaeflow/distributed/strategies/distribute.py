"""Strategies of `tf.distribute`: TensorFlow itself runs the replicas, in one process or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class DistributeStrategy:
    """A strategy that uses one of TensorFlow's, see `Strategy`.

    Attributes:
        name: the component's.
        inner: TensorFlow's strategy.
        rank: of this process.
        processes: their number.
    """

    name: str
    inner: tf.distribute.Strategy
    rank: int = 0
    processes: int = 1

    @property
    def replicas(self) -> int:
        """Devices over all processes."""
        return int(self.inner.num_replicas_in_sync)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which variables get a copy on each device."""
        return self.inner.scope()

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Run a function on each device of this process."""
        return self.inner.run(step, args=args)

    def local(self, result: Any) -> tf.Tensor:
        """Return the first device's tensor."""
        return self.inner.experimental_local_results(result)[0]

    def replica(self) -> tf.Tensor:
        """Return this replica's number, in a step."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return sums, in a step."""
        return list(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))

    def all_reduce_max(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the element-wise maximum, in a step; tf.distribute has none, so each replica fills its row of a sum.

        `all_gather` first exchanges the sizes of all replicas, which is one more round trip.
        """
        rows = tf.scatter_nd([[self.replica()]], tensor[None], (self.replicas, *tensor.shape))
        return tf.reduce_max(self.all_reduce_sum([rows])[0], axis=0)

    def assign(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
        """Set variables in a step. A plain assignment would aggregate the values once more."""
        if variables:
            tf.__internal__.distribute.interim.maybe_merge_call(_update, self.inner, list(variables), list(values))

    def disable_optimizer_reduction(self, optimizer: Any) -> None:
        """Replace a Keras optimizer's reduction in a replica by the identity (private to Keras, tested)."""
        optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # noqa: SLF001

    def close(self) -> None:
        """Do nothing: TensorFlow leaves the cluster when the process ends."""


def _update(inner: tf.distribute.Strategy, variables: list[tf.Variable], values: list[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        inner.extended.update(variable, lambda own, new: own.assign(new), args=(value,), group=False)

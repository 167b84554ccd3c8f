"""What the step needs to know of the machines it runs on: one small protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import tensorflow as tf


class Strategy(Protocol):
    """How replicas are run. What says "in a step" is called inside the function handed to `run`."""

    @property
    def name(self) -> str:
        """The component's name."""

    @property
    def replicas(self) -> int:
        """Devices that share a step, over all processes."""

    @property
    def rank(self) -> int:
        """This process, from 0."""

    @property
    def chief(self) -> bool:
        """Whether this process writes files."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which variables are made."""

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Run a function on every replica of this process; return what they return, to hand to `run` or `local`."""

    def local(self, result: Any) -> tf.Tensor:
        """Return one replica's tensor of a result of `run`, where all replicas have the same."""

    def replica(self) -> tf.Tensor | int:
        """Return the number of this replica, from 0, in a step."""

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sum of each tensor over the replicas, in a step."""

    def all_reduce_max(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the element-wise maximum over the replicas, in a step."""

    def assign(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
        """Set variables to values that all replicas agree on, in a step."""

    def own_reduction(self, optimizer: Any) -> None:
        """Keep an optimizer from reducing gradients, which the engine has done."""

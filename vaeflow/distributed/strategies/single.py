"""One device: a sum over replicas is its only summand."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import tensorflow as tf


@dataclass(frozen=True)
class SingleStrategy:
    """The strategy of one device, see `Strategy`; it is also its topology."""

    name: str = "single"
    replicas: int = 1
    rank: int = 0
    processes: int = 1
    local_processes: int = 1

    def start(self) -> SingleStrategy:
        """Return the strategy: there is nothing to join."""
        return self

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns."""
        return step(*args)

    def local(self, result: Any) -> tf.Tensor:
        """Return the result."""
        return result

    def replica(self) -> int:
        """Return 0."""
        return 0

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the tensors."""
        return list(tensors)

    def all_reduce_max(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the tensor."""
        return tensor

    def assign(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
        """Set variables to values."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def disable_optimizer_reduction(self, optimizer: Any) -> None:
        """Do nothing: on one device an optimizer's own reduction is the identity."""

    def close(self) -> None:
        """Do nothing."""

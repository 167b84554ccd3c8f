"""The protocol of strategies: what the step uses of the machines it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import tensorflow as tf


class Strategy(Protocol):
    """Runs the replicas. Methods "in a step" are called inside the function that `run` gets.

    All processes of a job must make the same calls in the same order; otherwise they wait for each other forever.
    """

    @property
    def name(self) -> str:
        """The component's name."""

    @property
    def replicas(self) -> int:
        """Devices that share a step, over all processes; every process has the same number of them."""

    @property
    def rank(self) -> int:
        """Rank of this process, from 0. Rank 0 is the chief, which writes files."""

    @property
    def processes(self) -> int:
        """Number of processes."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which variables are created."""

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Run a function on every replica of this process; return the results, for `run` or `local`."""

    def local(self, result: Any) -> tf.Tensor:
        """Return one replica's tensor of a result of `run` that is the same on all replicas."""

    def replica(self) -> tf.Tensor | int:
        """Return the number of this replica, from 0, in a step. A process's replicas have consecutive numbers."""

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sum of each tensor over the replicas, in a step."""

    def all_reduce_max(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the element-wise maximum over the replicas, in a step."""

    def assign(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
        """Set variables to values that all replicas agree on, in a step."""

    def disable_optimizer_reduction(self, optimizer: Any) -> None:
        """Stop an optimizer from reducing gradients, because the engine has done so."""

    def close(self) -> None:
        """Leave the job; called after a barrier of all processes."""


class Topology(Protocol):
    """What is known of a job's replicas before TensorFlow starts. A component of kind strategy builds one.

    Building it does not import TensorFlow. A missing package or launcher variable is a UsageError.
    """

    @property
    def name(self) -> str:
        """The strategy's name."""

    @property
    def replicas(self) -> int | None:
        """Replicas over all processes; None if the devices must be counted first."""

    @property
    def local_processes(self) -> int:
        """Processes of this job on this host, which share its cores."""

    def start(self) -> Strategy:
        """Join the job and take devices. TensorFlow is imported and its threads are set, but no device runs yet.

        Raises:
            UsageError: if this machine does not have the devices.
            VaeflowError: if the other processes can't be reached.
        """

"""The Horovod strategy: one process per device, joined by Horovod's collectives."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.distributed.job.horovod_environment import prepare_horovod_environment
from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import tensorflow as tf

    from vaeflow.distributed.job.job import Job

CONNECTION_ATTEMPTS = 3  # to an elastic job's launcher, since many ranks connect at once
ANSWER = 1.0  # seconds for each


@dataclass(frozen=True)
class HorovodTopology:
    """The processes of a job, each with one device, see `Topology`.

    Attributes:
        job: this process's place.
    """

    job: Job
    name: str = "horovod"

    @property
    def replicas(self) -> int:
        """One per process."""
        return self.job.processes

    @property
    def local_processes(self) -> int:
        """Processes on this host."""
        return self.job.local_processes

    def start(self) -> HorovodStrategy:
        """Select this process's GPU and join the job; return when all processes have joined."""
        import tensorflow as tf

        prepare_horovod_environment(self.job)
        if self.job.elastic:
            require_launcher()
        gpus = tf.config.list_physical_devices("GPU")
        if gpus:  # Not verified on a GPU.
            tf.config.set_visible_devices(gpus[self.job.local_rank % len(gpus)], "GPU")
        import horovod.tensorflow as hvd

        try:
            hvd.init()
        except (RuntimeError, ValueError) as error:
            raise VaeflowError(f"rank {self.job.rank} could not join the other Horovod processes: {error}") from error
        if self.job.elastic:
            _update_environment(hvd)
        return HorovodStrategy(hvd)


def require_launcher(environ: Mapping[str, str] = os.environ) -> None:
    """Raise a VaeflowError if the launcher of an elastic job does not answer: Horovod would retry for minutes.

    Processes that lose the connection to the launcher must end; the job continues with the others.
    """
    place = environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"], int(environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
    for _ in range(CONNECTION_ATTEMPTS):
        error = _call(place)
        if not isinstance(error, TimeoutError):
            break
    if error:
        raise VaeflowError(
            f"the job's launcher at {place[0]}:{place[1]} does not answer ({error.strerror or error}): "
            "it has ended, or this host is cut off from it"
        ) from error


def _call(place: tuple[str, int]) -> OSError | None:
    try:
        socket.create_connection(place, timeout=ANSWER).close()
    except OSError as error:
        return error
    return None


def _update_environment(hvd: Any) -> None:
    """Update this process's rank in the environment: in an elastic job it may change."""
    numbers = {"RANK": hvd.rank(), "SIZE": hvd.size(), "LOCAL_SIZE": hvd.local_size()}  # LOCAL_RANK identifies the slot
    os.environ.update({f"HOROVOD_{name}": str(number) for name, number in numbers.items()})


def require_horovod() -> None:
    """Raise a UsageError if Horovod is not installed. Does not import it."""
    if importlib.util.find_spec("horovod") is None:
        raise UsageError("strategy 'horovod' needs Horovod, which is not installed: vaeflow horovod install")


@dataclass(frozen=True)
class HorovodStrategy:
    """A strategy that uses Horovod's collectives, see `Strategy`. Horovod is initialized before.

    Attributes:
        hvd: the module `horovod.tensorflow`.
    """

    hvd: Any
    name: str = "horovod"

    @property
    def replicas(self) -> int:
        """One per process."""
        return int(self.hvd.size())

    @property
    def processes(self) -> int:
        """Number of processes."""
        return int(self.hvd.size())

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return int(self.hvd.rank())

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that does nothing: each process has ordinary variables."""
        return contextlib.nullcontext()

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns."""
        return step(*args)

    def local(self, result: Any) -> tf.Tensor:
        """Return the result."""
        return result

    def replica(self) -> int:
        """Return the rank."""
        return self.rank

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return sums, in a step, by one fused message."""
        from vaeflow.distributed.strategies.horovod_sums import sums

        return sums(self.hvd, tensors)

    def all_reduce_max(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the element-wise maximum, in a step."""
        return self.hvd.allreduce(tensor, op=self.hvd.Max)

    def assign(self, variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
        """Set variables to values."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def disable_optimizer_reduction(self, optimizer: Any) -> None:
        """Do nothing: a Keras optimizer does not use Horovod."""

    def close(self) -> None:
        """Stop Horovod's background thread, so that no process waits for one that has ended."""
        self.hvd.shutdown()

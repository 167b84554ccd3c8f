"""The family of Horovod: one process a device, which Horovod's collectives join."""

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
        """One a process."""
        return self.job.processes

    @property
    def local_processes(self) -> int:
        """Processes on this host."""
        return self.job.local_processes

    def start(self) -> HorovodStrategy:
        """Pin this process's GPU and join the ring: returns once all processes are there."""
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
            _tell_environment(hvd)
        return HorovodStrategy(hvd)


def require_launcher(environ: Mapping[str, str] = os.environ) -> None:
    """Raise a VaeflowError if the launcher of an elastic job does not answer: Horovod would ask it for minutes.

    Processes that a cut network leaves without it have to end; it goes on with those that it reaches.
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


def _tell_environment(hvd: Any) -> None:
    """Set this process's place in the environment: an elastic job's first place need not be its last."""
    numbers = {"RANK": hvd.rank(), "SIZE": hvd.size(), "LOCAL_SIZE": hvd.local_size()}  # LOCAL_RANK is the slot's name
    os.environ.update({f"HOROVOD_{name}": str(number) for name, number in numbers.items()})


def require_horovod() -> None:
    """Raise a UsageError that says how to get Horovod if it is not installed. Does not import it."""
    if importlib.util.find_spec("horovod") is None:
        raise UsageError("strategy 'horovod' needs Horovod, which is not installed: vaeflow horovod install")


@dataclass(frozen=True)
class HorovodStrategy:
    """A strategy on top of Horovod's collectives, see `Strategy`. It has been initialized.

    Attributes:
        hvd: the module `horovod.tensorflow`.
    """

    hvd: Any
    name: str = "horovod"

    @property
    def replicas(self) -> int:
        """One a process."""
        return int(self.hvd.size())

    @property
    def processes(self) -> int:
        """How many there are."""
        return int(self.hvd.size())

    @property
    def rank(self) -> int:
        """This process."""
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
        """Return sums, in a step: one fused message for all."""
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
        """Do nothing: a Keras optimizer knows nothing of Horovod."""

    def close(self) -> None:
        """Stop Horovod's background thread, so that no process waits for another that has ended."""
        self.hvd.shutdown()

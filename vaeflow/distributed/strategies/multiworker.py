"""Several processes, joined by TensorFlow's own collectives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.distributed.job.hosts import HOSTS, LOOPBACK, Hosts
from vaeflow.distributed.job.job import whole_number
from vaeflow.distributed.job.ports import first_port
from vaeflow.distributed.job.stop_signals import kept_handlers
from vaeflow.distributed.job.waiting import await_others, seconds_to_wait
from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.distributed.job.job import Job
    from vaeflow.distributed.strategies.base import Strategy


@dataclass(frozen=True)
class MultiworkerTopology:
    """The processes of a job under MultiWorkerMirroredStrategy, see `Topology`. Those of a host share its GPUs.

    Attributes:
        job: this process's place.
        wanted: number of replicas that the config expects; None accepts any number.
    """

    job: Job
    wanted: int | None = None
    name: str = "multiworker"

    @property
    def replicas(self) -> int | None:
        """Number of replicas; None if GPUs must be counted first."""
        return self.wanted

    @property
    def local_processes(self) -> int:
        """Processes on this host."""
        return self.job.local_processes

    def start(self) -> Strategy:
        """Join the cluster; return when all processes have joined.

        Raises:
            UsageError: if their number is not the expected one.
            VaeflowError: if some processes do not join in time, or TensorFlow can't connect them.
        """
        import tensorflow as tf

        from vaeflow.distributed.strategies.distribute import DistributeStrategy

        resolver = _resolver(self.job, _take_gpus(self.job))
        if self.job.rank == 0:
            addresses = [address for task in resolver.cluster_spec().as_dict().values() for address in task]
            await_others(addresses, seconds_to_wait())
        try:
            with kept_handlers():  # otherwise TensorFlow handles SIGTERM and ignores it
                inner = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except (tf.errors.OpError, RuntimeError) as error:
            raise VaeflowError(f"rank {self.job.rank} could not join the cluster: {error}") from error
        strategy = DistributeStrategy(self.name, inner, self.job.rank, self.job.processes)
        if self.wanted not in (None, strategy.replicas):
            raise UsageError(f"strategy.replicas = {self.wanted}, but the cluster has {strategy.replicas}")
        return strategy


def _take_gpus(job: Job) -> int:
    """Make only a process's own GPUs visible to it; return their number."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:  # Not verified on a GPU.
        gpus = [gpus[i] for i in own_gpus(len(gpus), job, os.environ)]
        tf.config.set_visible_devices(gpus, "GPU")
    return len(gpus)


def _resolver(job: Job, gpus: int) -> Any:
    """Return TensorFlow's view of the cluster.

    Its resolver for SLURM is not used: it sorts hosts as text (n10 before n9), which is not SLURM's order of the ranks,
    and assumes the same number of tasks on each host.
    """
    import tensorflow as tf

    resolvers = tf.distribute.cluster_resolver
    if job.launcher == "TF_CONFIG":
        return resolvers.TFConfigClusterResolver()
    spec = tf.train.ClusterSpec({"worker": addresses_of(job, os.environ)})
    return resolvers.SimpleClusterResolver(spec, task_type="worker", task_id=job.rank, num_accelerators={"GPU": gpus})


def addresses_of(job: Job, environ: Mapping[str, str]) -> list[str]:
    """Return each rank's address, `HOST:PORT`, in a job of srun or mpirun.

    Args:
        job: this process's place.
        environ: the environment's variables.

    Raises:
        UsageError: if the launcher's variables are not sufficient, or ranks are not consecutive on each host.
    """
    hosts, first = Hosts.of(job, environ), first_port(job, environ)
    names = hosts.names if len(hosts.names) > 1 else (LOOPBACK,)
    if not all(names):
        raise UsageError(
            f"mpirun started {job.processes} processes on several hosts; set {HOSTS}=host1:4,host2:4 (name:processes, "
            f"in mpirun's order) so that they find each other"
        )
    if not hosts.in_order(job):
        raise UsageError(
            f"srun made rank {job.rank} number {job.local_rank} on host {hosts.name}: multiworker needs consecutive "
            "ranks on each host, srun --distribution=block"
        )
    by_rank = [name for name, count in zip(names, hosts.processes, strict=True) for _ in range(count)]
    return [f"{name}:{first + rank}" for rank, name in enumerate(by_rank)]


def own_gpus(seen: int, job: Job, environ: Mapping[str, str]) -> range:
    """Return which of the GPUs that are visible to a process are its own.

    A launcher makes either only a process's own GPUs visible to it, or all GPUs of a host to all of its processes,
    which then share them evenly. Not verified on a GPU.

    Args:
        seen: number of visible GPUs.
        job: its place.
        environ: the environment's variables.

    >>> from vaeflow.distributed.job.job import Job
    >>> own_gpus(4, Job("mpirun", 5, 8, 1, 4), {}), own_gpus(1, Job("mpirun", 5, 8, 1, 4), {})
    (range(1, 2), range(0, 1))
    """
    share = seen // job.local_processes
    bound = seen * job.local_processes == whole_number(environ, "SLURM_GPUS_ON_NODE", 0)
    return range(seen) if bound or not share else range(job.local_rank * share, (job.local_rank + 1) * share)

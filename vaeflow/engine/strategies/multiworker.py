"""Several processes that TensorFlow's own collectives join."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.engine.strategies.arrival import await_others, seconds_to_wait
from vaeflow.engine.strategies.hosts import HOSTS
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.signals import kept_handlers

if TYPE_CHECKING:
    from vaeflow.engine.strategies.base import Strategy
    from vaeflow.job import Job

SECONDS = 300.0  # for which rank 0 waits for the others: each loads its data before it comes
FIRST_PORT, PORTS = 20000, 10000


@dataclass(frozen=True)
class MultiworkerTopology:
    """The processes of a job under MultiWorkerMirroredStrategy, each with all devices that it sees, see `Topology`.

    Attributes:
        job: this process's place.
        wanted: how many replicas the config expects; None for as many as there are.
    """

    job: Job
    wanted: int | None = None
    name: str = "multiworker"

    @property
    def replicas(self) -> int | None:
        """As wanted, or to be counted."""
        return self.wanted

    @property
    def local_processes(self) -> int:
        """Processes on this host."""
        return self.job.local_processes

    def start(self) -> Strategy:
        """Join the cluster: returns once all processes are there.

        Raises:
            UsageError: if they are not as many as wanted.
            VaeflowError: if rank 0 finds that others do not come, or TensorFlow can't join them.
        """
        import tensorflow as tf

        from vaeflow.engine.strategies.distribute import DistributeStrategy

        resolver = _resolver(self.job)
        seconds = seconds_to_wait(SECONDS)
        if self.job.rank == 0:
            await_others([address for task in resolver.cluster_spec().as_dict().values() for address in task], seconds)
        try:
            with kept_handlers():  # or a SIGTERM would be TensorFlow's, which drops it
                inner = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except (tf.errors.OpError, RuntimeError) as error:
            raise VaeflowError(f"rank {self.job.rank} could not join the cluster: {error}") from error
        strategy = DistributeStrategy(self.name, inner, self.job.rank, self.job.processes)
        if self.wanted not in (None, strategy.replicas):
            raise UsageError(f"strategy.replicas = {self.wanted}, but the cluster has {strategy.replicas}")
        return strategy


def _resolver(job: Job) -> Any:
    """Return TensorFlow's view of the cluster."""
    import tensorflow as tf

    resolvers = tf.distribute.cluster_resolver
    if job.launcher == "TF_CONFIG":
        return resolvers.TFConfigClusterResolver()
    if job.launcher == "srun":
        resolver = resolvers.SlurmClusterResolver(
            port_base=port_of_job(os.environ["SLURM_JOB_ID"]),
            gpus_per_node=job.local_processes,
            gpus_per_task=1,
            auto_set_gpu=False,  # SLURM has bound the GPUs, or there are none
        )
        resolver.cluster_spec()  # it is what finds the task's own number
        return resolver
    spec = tf.train.ClusterSpec({"worker": addresses_of_mpi(job, os.environ)})
    return resolvers.SimpleClusterResolver(spec, task_type="worker", task_id=job.rank)


def port_of_job(job_id: str) -> int:
    """Return the first port of a job's processes, so that two jobs on one host do not meet.

    >>> port_of_job("17")
    20017
    """
    digits = "".join(c for c in job_id if c.isdigit())
    return FIRST_PORT + int(digits or 0) % PORTS


def addresses_of_mpi(job: Job, environ: Any) -> list[str]:
    """Return each rank's address: Open MPI tells its processes no host names, so more than one host must be named.

    Raises:
        UsageError: if the job has several hosts and they are not named.
    """
    first = port_of_job(environ.get("VAEFLOW_PORT") or environ.get("OMPI_MCA_ess_base_jobid", "0"))
    if job.local_processes == job.processes:
        return [f"127.0.0.1:{first + rank}" for rank in range(job.processes)]
    hosts = [part.partition(":") for part in environ.get(HOSTS, "").split(",") if part]
    named = [f"{host}:{first + slot}" for host, _, slots in hosts for slot in range(int(slots or 1))]
    if len(named) != job.processes:
        raise UsageError(
            f"mpirun started {job.processes} processes on several hosts; set {HOSTS}=host1:4,host2:4 (name:processes, "
            f"in mpirun's order) so that they find each other; it names {len(named)}"
        )
    return named

"""Which process of a job this one is, by the environment that its launcher set. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


STRANGE = "mpiexec of MPICH or Intel MPI"


@dataclass(frozen=True)
class Job:
    """A process among those of its job.

    Attributes:
        launcher: what started it, in words; empty for a process that stands alone.
        rank: its number, from 0.
        processes: how many there are.
        local_rank: its number among the processes on its host.
        local_processes: how many there are on its host.
        elastic: whether the launcher lets processes come and go.
    """

    launcher: str = ""
    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1
    elastic: bool = False

    @classmethod
    def current(cls, environ: Mapping[str, str] = os.environ) -> Job:
        """Return this process's place.

        Args:
            environ: the environment's variables.

        Raises:
            UsageError: if a launcher's variables make no sense.

        >>> Job.current({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"})
        Job(launcher='horovodrun', rank=1, processes=2, local_rank=0, local_processes=1, elastic=False)
        >>> Job.current({})
        Job(launcher='', rank=0, processes=1, local_rank=0, local_processes=1, elastic=False)
        """
        try:
            found = [of(environ) for of in (_of_horovodrun, _of_tf_config, _of_mpirun, _of_srun, _of_mpich)]
            jobs = [job for job in found if job]
            # A shell in an allocation is a step of one task, and may start a job of several.
            several = [job for job in jobs if job.processes > 1 or job.launcher == "horovodrun"]
            return next(iter([*several, *jobs]), cls())
        except (ValueError, KeyError) as error:
            raise UsageError(f"the launcher's environment makes no sense: {type(error).__name__}: {error}") from error


def _of_horovodrun(environ: Mapping[str, str]) -> Job | None:
    if "HOROVOD_RANK" not in environ or "HOROVOD_SIZE" not in environ:
        return None
    names = (("HOROVOD_RANK", "0"), ("HOROVOD_SIZE", "1"), ("HOROVOD_LOCAL_RANK", "0"), ("HOROVOD_LOCAL_SIZE", "1"))
    rank, size, local_rank, local_size = (int(environ.get(name, default)) for name, default in names)
    return Job("horovodrun", rank, size, local_rank, local_size, elastic=environ.get("HOROVOD_ELASTIC") == "1")


def _of_tf_config(environ: Mapping[str, str]) -> Job | None:
    if "TF_CONFIG" not in environ:
        return None
    try:
        config = json.loads(environ["TF_CONFIG"])
        cluster, task = config.get("cluster", {}), config.get("task", {})
        addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"TF_CONFIG is not what TensorFlow takes: {error}") from error
    if not addresses:
        return None
    if kind not in ("chief", "worker"):
        raise UsageError(f"TF_CONFIG: task type {kind!r} does not train; allowed: chief, worker")
    rank = index + (len(cluster.get("chief", [])) if kind == "worker" else 0)
    if not 0 <= rank < len(addresses):
        raise UsageError(f"TF_CONFIG: there is no {kind} {index}: it lists {len(addresses)} processes")
    hosts = [str(address).rpartition(":")[0] for address in addresses]
    return Job("TF_CONFIG", rank, len(hosts), hosts[:rank].count(hosts[rank]), hosts.count(hosts[rank]))


def _of_mpirun(environ: Mapping[str, str]) -> Job | None:
    if "OMPI_COMM_WORLD_SIZE" not in environ:
        return None
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    rank, size, local_rank, local_size = (int(environ[f"OMPI_COMM_WORLD_{name}"]) for name in names)
    return Job("mpirun", rank, size, local_rank, local_size)


def _of_srun(environ: Mapping[str, str]) -> Job | None:
    # The shell of a batch job has SLURM_PROCID too, but no STEP: only srun's tasks are processes of a job.
    if "SLURM_STEP_NUM_TASKS" not in environ:
        return None
    node = int(environ.get("SLURM_NODEID", "0"))
    here = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", environ["SLURM_STEP_NUM_TASKS"]))[node]
    return Job(
        "srun",
        int(environ["SLURM_PROCID"]),
        int(environ["SLURM_STEP_NUM_TASKS"]),
        int(environ.get("SLURM_LOCALID", "0")),
        here,
    )


def _of_mpich(environ: Mapping[str, str]) -> Job | None:
    """Find a launcher whose processes can't be joined, so that they are not trained alone."""
    if int(environ.get("PMI_SIZE", "1")) <= 1:
        return None
    return Job(STRANGE, int(environ.get("PMI_RANK", "0")), int(environ["PMI_SIZE"]))


def tasks_per_node(text: str) -> list[int]:
    """Return SLURM's short list of tasks written out.

    >>> tasks_per_node("4(x2),1")
    [4, 4, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts

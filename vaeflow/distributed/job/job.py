"""The place of this process in its job, by its launcher's environment variables. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.echo import shown
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


UNSUPPORTED = "mpiexec of MPICH or Intel MPI"
MOST = 2**20
"""Largest number of processes or hosts of a job: more are a mistake, and loops over them would take too long."""

_WHOLE = re.compile(r"[0-9]{1,9}")
_ADDRESS = re.compile(r"([^\s,:\[\]]+|\[[^\s,\[\]]+\]):([0-9]{1,5})")
_TASKS = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?")


@dataclass(frozen=True)
class Job:
    """The place of a process in its job.

    Attributes:
        launcher: its launcher; empty for a single process without one.
        rank: from 0.
        processes: their number.
        local_rank: its rank among the processes of its host.
        local_processes: number of processes on its host.
        elastic: whether processes may be lost and added.
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
            UsageError: if a launcher's variables are invalid, missing, or contradict each other.

        >>> Job.current({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"})
        Job(launcher='horovodrun', rank=1, processes=2, local_rank=0, local_processes=1, elastic=False)
        >>> Job.current({})
        Job(launcher='', rank=0, processes=1, local_rank=0, local_processes=1, elastic=False)
        """
        found = [of(environ) for of in (_of_horovodrun, _of_tf_config, _of_mpirun, _of_srun, _of_mpich)]
        jobs = [job for job in found if job]
        # A shell in an allocation is a step with one task; it may start a job with several.
        several = [job for job in jobs if job.processes > 1 or job.launcher == "horovodrun"]
        return next(iter([*several, *jobs]), cls())


def whole_number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return the whole number of 0 or more in a launcher's variable.

    Args:
        environ: the environment's variables.
        name: of the variable.
        default: used if it is not set; None if it must be set.

    Raises:
        UsageError: if it is missing or not such a number.
    """
    text = environ.get(name, "")
    if not text and default is not None:
        return default
    if not text:
        raise UsageError(f"the launcher's environment is invalid: {name} is not set")
    if not _WHOLE.fullmatch(text):
        raise UsageError(f"the launcher's environment is invalid: {name}={shown(text)} is not a whole number")
    return int(text)


def _of_horovodrun(environ: Mapping[str, str]) -> Job | None:
    if "HOROVOD_RANK" not in environ and "HOROVOD_SIZE" not in environ:
        return None
    elastic = environ.get("HOROVOD_ELASTIC") == "1"
    return _placed(environ, "horovodrun", "HOROVOD_{}", elastic=elastic, local=(0, 1))


def _of_mpirun(environ: Mapping[str, str]) -> Job | None:
    if "OMPI_COMM_WORLD_SIZE" not in environ:
        return None
    return _placed(environ, "mpirun", "OMPI_COMM_WORLD_{}")


def _placed(
    environ: Mapping[str, str],
    launcher: str,
    variable: str,
    *,
    elastic: bool = False,
    local: tuple[int, int] | tuple[None, None] = (None, None),
) -> Job:
    """Return the job from four variables; the local ones may have defaults."""
    names = [variable.format(name) for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    defaults = (None, None, *local)
    numbers = (whole_number(environ, name, default) for name, default in zip(names, defaults, strict=True))
    rank, processes, local_rank, local_processes = numbers
    return _consistent(Job(launcher, rank, processes, local_rank, local_processes, elastic), *names)


def _consistent(job: Job, rank: str, size: str, local_rank: str, local_size: str) -> Job:
    """Return a job if its numbers are consistent; the arguments name their variables.

    Raises:
        UsageError: if they are not.
    """
    problem = _problem(job, rank, size, local_rank, local_size)
    if problem:
        raise UsageError(f"the launcher's environment is invalid: {problem}; start the job by its launcher")
    return job


def _problem(job: Job, rank: str, size: str, local_rank: str, local_size: str) -> str:
    if not 1 <= job.processes <= MOST:
        return f"{size}={job.processes} is not from 1 to {MOST}"
    if job.rank >= job.processes:
        return f"{rank}={job.rank} with {size}={job.processes}: ranks are from 0 to {job.processes - 1}"
    if not 1 <= job.local_processes <= job.processes:
        return f"{local_size}={job.local_processes} is not from 1 to {size}={job.processes}"
    if job.local_rank >= job.local_processes and not job.elastic:  # in an elastic job it is the name of a slot
        return f"{local_rank}={job.local_rank} with {local_size}={job.local_processes}: local ranks start at 0"
    return ""


def _of_tf_config(environ: Mapping[str, str]) -> Job | None:
    if "TF_CONFIG" not in environ:
        return None
    config = _parsed(environ["TF_CONFIG"])
    cluster, task = _table(config, "cluster"), _table(config, "task")
    chiefs, workers = _addresses(cluster, "chief"), _addresses(cluster, "worker")
    addresses = [*chiefs, *workers]
    if not addresses:
        return None
    if len(chiefs) > 1:
        raise UsageError(f"TF_CONFIG: {len(chiefs)} chiefs; TensorFlow allows at most one")
    if len(set(addresses)) < len(addresses):
        twice = Counter(addresses).most_common(1)[0][0]
        raise UsageError(f"TF_CONFIG: the address {shown(twice)} is given twice; each process needs its own")
    kind, index = task.get("type", "worker"), task.get("index", 0)
    if kind not in ("chief", "worker"):
        raise UsageError(f"TF_CONFIG: task type {shown(kind)} is not supported; allowed: chief, worker")
    if isinstance(index, bool) or not _WHOLE.fullmatch(str(index)):
        raise UsageError(f"TF_CONFIG: task index {shown(index)} is not a whole number")
    number = int(index)
    rank = number + (len(chiefs) if kind == "worker" else 0)
    if number >= len(workers if kind == "worker" else chiefs):
        raise UsageError(f"TF_CONFIG: {kind} {number} does not exist: it lists {len(addresses)} processes")
    hosts = [address.rpartition(":")[0] for address in addresses]
    return Job("TF_CONFIG", rank, len(hosts), hosts[:rank].count(hosts[rank]), hosts.count(hosts[rank]))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"TF_CONFIG={shown(text)} is not valid JSON: {error}") from error


def _table(config: Any, key: str) -> dict[str, Any]:
    found = config.get(key, {}) if isinstance(config, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f"TF_CONFIG is not valid: {key!r} is not an object: {shown(config)}")
    return found


def _addresses(cluster: dict[str, Any], kind: str) -> list[str]:
    found = cluster.get(kind, [])
    if not isinstance(found, list) or len(found) > MOST:
        raise UsageError(f"TF_CONFIG: the {kind}s of the cluster are not a list of HOST:PORT: {shown(found)}")
    for address in found:
        matched = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if not matched or not 0 < int(matched[2]) < 2**16:
            raise UsageError(f"TF_CONFIG: the {kind}'s address {shown(address)} is not HOST:PORT, such as node1:20000")
    return found


def _of_srun(environ: Mapping[str, str]) -> Job | None:
    # The shell of a batch job has SLURM_PROCID too, but no STEP: only srun's tasks are processes of a job.
    if "SLURM_STEP_NUM_TASKS" not in environ:
        return None
    tasks, node = whole_number(environ, "SLURM_STEP_NUM_TASKS"), whole_number(environ, "SLURM_NODEID", 0)
    counts = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)))
    if node >= len(counts):
        raise UsageError(
            f"the launcher's environment is invalid: SLURM_NODEID={node}, but SLURM_STEP_TASKS_PER_NODE counts "
            f"tasks on {len(counts)} nodes"
        )
    local_rank = whole_number(environ, "SLURM_LOCALID", 0)
    job = Job("srun", whole_number(environ, "SLURM_PROCID"), tasks, local_rank, counts[node])
    return _consistent(job, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")


def _of_mpich(environ: Mapping[str, str]) -> Job | None:
    """Detect a launcher that is not supported, so that its processes do not each train alone."""
    size = whole_number(environ, "PMI_SIZE", 1)
    if size <= 1:
        return None
    return _consistent(Job(UNSUPPORTED, whole_number(environ, "PMI_RANK", 0), size), "PMI_RANK", "PMI_SIZE", "", "")


def tasks_per_node(text: str) -> list[int]:
    """Expand SLURM's short list of tasks.

    Raises:
        UsageError: if it is invalid.

    >>> tasks_per_node("4(x2),1")
    [4, 4, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        matched = _TASKS.fullmatch(part)
        times = int(matched[2] or 1) if matched else 0
        if not matched or not 0 < int(matched[1]) <= MOST or not 0 < times <= MOST - len(counts):
            raise UsageError(
                f"the launcher's environment is invalid: SLURM_STEP_TASKS_PER_NODE={shown(text)} is not a list of "
                "tasks, such as 4(x2),1"
            )
        counts += [int(matched[1])] * times
    return counts

"""Strategies that come with vaeflow: each build function looks at the launcher's variables, not at devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.distributed.job.job import STRANGE, Job
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.distributed.strategies.base import Topology

Replicas = Literal["auto"] | Annotated[int, Field(ge=1)]


def auto(*, replicas: Replicas = "auto") -> Topology:
    """What the process was started for: horovod under horovodrun, multiworker under TF_CONFIG, else one machine.

    Without a launcher, or alone under one, it is single, or mirrored if more than one replica is wanted.

    Args:
        replicas: devices over all processes; auto takes as many as the launcher started, or one.
    """
    job = _job()
    if job.launcher == "horovodrun":
        return horovod(replicas=replicas)
    if job.launcher == "TF_CONFIG" and job.processes > 1:
        return multiworker(replicas=replicas)
    if job.processes > 1:
        raise UsageError(
            f"strategy: {job.launcher} started {job.processes} processes: how are they to train together? "
            "--strategy multiworker or --strategy horovod"
        )
    return single() if replicas in ("auto", 1) else mirrored(replicas=replicas)


def single(*, replicas: Annotated[int, Field(ge=1, le=1)] = 1) -> Topology:
    """One device: the first GPU, or the CPU.

    Args:
        replicas: 1; the key is there since every strategy has it.
    """
    _alone("single")
    from vaeflow.distributed.strategies.single import SingleStrategy

    return SingleStrategy(replicas=replicas)


def mirrored(*, replicas: Replicas = "auto") -> Topology:
    """One process, several devices: GPUs, or logical CPU devices where there are none (tf.distribute).

    Args:
        replicas: how many devices; auto takes all GPUs, or two logical CPU devices.
    """
    _alone("mirrored")
    from vaeflow.distributed.strategies.mirrored import MirroredTopology

    return MirroredTopology(None if replicas == "auto" else replicas)


def multiworker(*, replicas: Replicas = "auto") -> Topology:
    """Several processes; those of a host share its GPUs, if it has any (tf.distribute).

    They are found by TF_CONFIG, or by the variables of srun or mpirun.

    Args:
        replicas: devices over all processes, to be checked against what the launcher started; auto checks nothing.
    """
    from vaeflow.distributed.strategies.multiworker import MultiworkerTopology

    return MultiworkerTopology(_launched("multiworker"), None if replicas == "auto" else replicas)


def horovod(*, replicas: Replicas = "auto") -> Topology:
    """One process a device, joined by Horovod, started by horovodrun, srun or mpirun.

    Args:
        replicas: processes, to be checked against what the launcher started; auto checks nothing.
    """
    from vaeflow.distributed.strategies.horovod import HorovodTopology, require_horovod

    require_horovod()
    job = _launched("horovod")
    if replicas not in ("auto", job.processes):
        raise UsageError(f"strategy.replicas = {replicas}, but {job.launcher} started {job.processes} processes")
    return HorovodTopology(job)


def _job() -> Job:
    job = Job.current()
    if job.launcher == STRANGE:
        raise UsageError(
            f"strategy: {STRANGE} started {job.processes} processes, which vaeflow can't join: start them by "
            "horovodrun, srun or Open MPI's mpirun"
        )
    return job


def _alone(name: str) -> None:
    job = _job()
    if job.processes > 1:
        raise UsageError(
            f"strategy: {job.launcher} started {job.processes} processes, and with {name!r} each would train alone; "
            "--strategy horovod or --strategy multiworker joins them"
        )


def _launched(name: str) -> Job:
    job = _job()
    if job.launcher == "horovodrun" and name == "multiworker":
        raise UsageError("strategy 'multiworker' finds its processes by TF_CONFIG, srun or mpirun, not by horovodrun")
    if not job.launcher:
        how = "horovodrun -np 2 vaeflow train ..." if name == "horovod" else "TF_CONFIG, srun or mpirun"
        raise UsageError(f"strategy {name!r} joins several processes, but no launcher started this one: {how}")
    return job

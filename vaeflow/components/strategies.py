"""Built-in strategies. The build functions read the launcher's environment variables; they do not use devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.distributed.job.job import UNSUPPORTED, Job
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.distributed.strategies.base import Topology

Replicas = Literal["auto"] | Annotated[int, Field(ge=1)]


def auto(*, replicas: Replicas = "auto") -> Topology:
    """Selects the strategy by the launcher: horovod under horovodrun, multiworker under TF_CONFIG, else one machine.

    For a single process it is single, or mirrored if `replicas` is more than 1.

    Args:
        replicas: devices over all processes; auto uses as many as the launcher started, or one.
    """
    job = _job()
    if job.launcher == "horovodrun":
        return horovod(replicas=replicas)
    if job.launcher == "TF_CONFIG" and job.processes > 1:
        return multiworker(replicas=replicas)
    if job.processes > 1:
        raise UsageError(
            f"strategy: {job.launcher} started {job.processes} processes; choose the strategy that connects them: "
            "--strategy multiworker or --strategy horovod"
        )
    return single() if replicas in ("auto", 1) else mirrored(replicas=replicas)


def single(*, replicas: Annotated[int, Field(ge=1, le=1)] = 1) -> Topology:
    """One device: the first GPU, or the CPU.

    Args:
        replicas: must be 1; every strategy has this option.
    """
    _alone("single")
    from vaeflow.distributed.strategies.single import SingleStrategy

    return SingleStrategy(replicas=replicas)


def mirrored(*, replicas: Replicas = "auto") -> Topology:
    """One process with several devices: GPUs, or logical CPU devices if there are none (tf.distribute).

    Args:
        replicas: number of devices; auto uses all GPUs, or two logical CPU devices.
    """
    _alone("mirrored")
    from vaeflow.distributed.strategies.mirrored import MirroredTopology

    return MirroredTopology(None if replicas == "auto" else replicas)


def multiworker(*, replicas: Replicas = "auto") -> Topology:
    """Several processes; those of a host share its GPUs, if it has any (tf.distribute).

    Processes are found by TF_CONFIG, or by the environment variables of srun or mpirun.

    Args:
        replicas: expected number of devices over all processes; auto accepts what the launcher started.
    """
    from vaeflow.distributed.strategies.multiworker import MultiworkerTopology

    return MultiworkerTopology(_launched("multiworker"), None if replicas == "auto" else replicas)


def horovod(*, replicas: Replicas = "auto") -> Topology:
    """One process per device, connected by Horovod and started by horovodrun, srun or mpirun.

    Args:
        replicas: expected number of processes; auto accepts what the launcher started.
    """
    from vaeflow.distributed.strategies.horovod import HorovodTopology, require_horovod

    require_horovod()
    job = _launched("horovod")
    if replicas not in ("auto", job.processes):
        raise UsageError(f"strategy.replicas = {replicas}, but {job.launcher} started {job.processes} processes")
    return HorovodTopology(job)


def _job() -> Job:
    job = Job.current()
    if job.launcher == UNSUPPORTED:
        raise UsageError(
            f"strategy: {UNSUPPORTED} started {job.processes} processes, which vaeflow does not support: start them by "
            "horovodrun, srun or Open MPI's mpirun"
        )
    return job


def _alone(name: str) -> None:
    job = _job()
    if job.processes > 1:
        raise UsageError(
            f"strategy: {job.launcher} started {job.processes} processes, but with {name!r} each would train alone; "
            "use --strategy horovod or --strategy multiworker"
        )


def _launched(name: str) -> Job:
    job = _job()
    if job.launcher == "horovodrun" and name == "multiworker":
        raise UsageError("strategy 'multiworker' needs TF_CONFIG, srun or mpirun as launcher, not horovodrun")
    if not job.launcher:
        how = "horovodrun -np 2 vaeflow train ..." if name == "horovod" else "TF_CONFIG, srun or mpirun"
        raise UsageError(f"strategy {name!r} needs a launcher that starts several processes: {how}")
    return job

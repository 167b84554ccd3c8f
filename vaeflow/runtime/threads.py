"""The number of threads per operation, on which the bits of a run depend."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vaeflow.distributed.job.cores import cores
from vaeflow.distributed.job.job import Job, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.config.schema import Config


def threads_of(config: Config, local_processes: int = 1, environ: Mapping[str, str] = os.environ) -> int:
    """Return the intra-op threads per replica: 1 if the bits must not depend on the machine, else this process's cores.

    Args:
        config: the run's.
        local_processes: processes of the job that share this host's cores.
        environ: the environment's variables: under SLURM, a task's cores if `--cpus-per-task` sets them.
    """
    if config.threads != "auto":
        return config.threads
    return 1 if config.microbatches != "auto" else _own_cores(local_processes, environ)


def _own_cores(local_processes: int, environ: Mapping[str, str]) -> int:
    usable = cores()  # of all tasks of the host, or of this task if SLURM binds it to cores
    if Job.current(environ).launcher == "srun" and "SLURM_CPUS_PER_TASK" in environ:
        return max(1, min(usable, whole_number(environ, "SLURM_CPUS_PER_TASK")))
    return max(1, usable // local_processes)

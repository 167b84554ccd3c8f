"""Ports of a job: the same for all its processes, and different from those of other jobs on the same hosts."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.distributed.job.job import Job

PORT = "VAEFLOW_PORT"
FIRST, PORTS = 20000, 10000  # below the ports that Linux assigns by itself
LARGEST = 2**16 - 1


def first_port(job: Job, environ: Mapping[str, str]) -> int:
    """Return the first port of a job: VAEFLOW_PORT, or one that is computed from the job's name.

    Args:
        job: this process's place.
        environ: the environment's variables.

    Raises:
        UsageError: if VAEFLOW_PORT is not a port, or too high for one port per process.
    """
    given = environ.get(PORT, "")
    if not given:
        return port_of(name_of_job(job, environ))
    last = LARGEST - job.processes + 1
    if not given.isascii() or not given.isdigit() or len(given) > 5 or not 0 < int(given) <= last:
        raise UsageError(f"{PORT}={given!r} is not a port from 1 to {last}: {job.processes} ports are used from there")
    return int(given)


def port_of(name: str) -> int:
    """Return the port of a job, 20000 to 29999.

    >>> port_of("srun 17.0"), port_of("srun 17.1")
    (24640, 22438)
    """
    return FIRST + zlib.crc32(name.encode(errors="surrogateescape")) % PORTS


def name_of_job(job: Job, environ: Mapping[str, str]) -> str:
    """Return a name of the job that is the same for its processes and unique on their hosts."""
    if job.launcher == "srun":
        return f"srun {environ.get('SLURM_JOB_ID', '')}.{environ.get('SLURM_STEP_ID', '')}"
    return f"mpirun {environ.get('PMIX_NAMESPACE') or environ.get('OMPI_MCA_ess_base_jobid', '')}"

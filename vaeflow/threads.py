"""How many threads an operation may use: part of what the bits of a run depend on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeflow.config import Config


def threads_of(config: Config, local_processes: int = 1) -> int:
    """Return the intra-op threads a replica: 1 where the bits may not depend on the machine, else this process's cores.

    Args:
        config: the run's.
        local_processes: processes of the job that share this host's cores.
    """
    if config.threads != "auto":
        return config.threads
    return 1 if config.microbatches != "auto" else max(1, len(os.sched_getaffinity(0)) // local_processes)

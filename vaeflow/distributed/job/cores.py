"""How many cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Return the cores that this process may use; fewer than the machine's in a container or a batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

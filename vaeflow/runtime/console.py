"""Print lines above a progress bar if there is one, on rank 0 only."""

from __future__ import annotations

import contextlib
import sys

from vaeflow.distributed.job.job import Job


def say(line: str) -> None:
    """Print one line, above a progress bar if there is one; on rank 0 only."""
    from tqdm import tqdm

    if Job.current().rank == 0:
        with contextlib.suppress(OSError):  # a closed terminal must not end a run
            tqdm.write(line)


def warn(line: str) -> None:
    """Print one line on standard error: the standard output of `evaluate` and the like is for programs."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):
        tqdm.write(line, file=sys.stderr)

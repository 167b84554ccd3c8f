"""What `VAEFLOW_TRACE_PLUGINS=1` prints: which plugins were found, their origin, components and import time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "VAEFLOW_TRACE_PLUGINS"
"""If this environment variable is 1, the search for plugins is traced on standard error."""


def trace(line: str) -> None:
    """Print a line on standard error if plugins are traced."""
    if os.environ.get(TRACE) == "1":
        sys.stderr.write(f"vaeflow: plugins: {line}\n")


@contextlib.contextmanager
def timed(line: str) -> Iterator[None]:
    """Print a line and how many milliseconds the block took."""
    started = time.perf_counter()
    yield
    trace(f"{line} ({1000 * (time.perf_counter() - started):.0f} ms)")

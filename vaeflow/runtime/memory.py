"""Check the memory that this process may still use. Linux only; does not import TensorFlow.

C++ code or the kernel ends a process that exceeds its limit, without a message about what was too large.
"""

from __future__ import annotations

import contextlib
import math
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.distributed.job.job import Job
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 2**20
ALWAYS = 64 * MEBIBYTE
"""Bytes that are never refused: estimates are not that exact, and memory in use changes."""

RESERVE = 256 * MEBIBYTE
"""Bytes reserved for what is not estimated: compiled code, threads' stacks, buffers of allocators."""

SIZE = re.compile(r"(?P<number>\d{1,9}(\.\d{1,9})?) ?(?P<unit>[KMG]i?B)", re.IGNORECASE)
UNITS = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
"""Bytes by unit."""

CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Available:
    """Available memory.

    Attributes:
        size: bytes.
        limit: name of the limit.
    """

    size: float
    limit: str


def available() -> Available:
    """Return the memory that the limits of this process allow; infinite if no limit is known.

    The processes of a job on one host share the memory of the machine or container.
    """
    share = Job.current().local_processes
    found = [*_of_process(), *(Available(one.size / share, one.limit) for one in (*_of_cgroups(), *_of_machine()))]
    return min(found, key=lambda one: one.size, default=Available(math.inf, "no limit"))


def fits(size: float) -> bool:
    """Return whether so many bytes are available."""
    return size <= ALWAYS or size + RESERVE <= available().size


def require(size: float, what: str, advice: str) -> None:
    """Check that memory is sufficient before something is started.

    Args:
        size: bytes that it needs.
        what: its name for the message.
        advice: which setting to lower, and to about which value.

    Raises:
        UsageError: if memory is not sufficient.
    """
    if not fits(size):
        there = available()
        left = max(0.0, there.size - RESERVE)
        raise UsageError(
            f"{what} needs about {format_bytes(size)} of memory, but {format_bytes(left)} is available "
            f"({there.limit}): {advice}"
        )


def left_for_work() -> float:
    """Return the bytes available for estimated work."""
    return max(float(ALWAYS), available().size - RESERVE)


def format_bytes(size: float) -> str:
    """Format a number of bytes.

    >>> format_bytes(5 * 2**20), format_bytes(3.25 * 2**30), format_bytes(10**18)
    ('5 MiB', '3.2 GiB', '931,322,575 GiB')
    """
    if size < 2**30:
        return f"{size / MEBIBYTE:.0f} MiB"
    gibibytes = size / 2**30
    return f"{gibibytes:.1f} GiB" if gibibytes < 100 else f"{gibibytes:,.0f} GiB"


def parse_bytes(setting: str, text: str) -> float:
    """Return a number of bytes that a user wrote.

    Args:
        setting: its name, for the error.
        text: a number and a unit.

    Raises:
        UsageError: if it is not one, or not positive.

    >>> parse_bytes("--memory", "1.5 GiB")
    1610612736.0
    """
    found = SIZE.fullmatch(text.strip())
    size = float(found["number"]) * UNITS[found["unit"].lower()] if found else 0.0
    if not size:
        raise UsageError(f"{setting}: {text!r} is not a size such as 500MiB or 4GiB; units: KiB, MiB, GiB, KB, MB, GB")
    return size


def _of_process() -> Iterator[Available]:
    used = _fields(Path("/proc/self/status"))
    for number, name, field in (
        (resource.RLIMIT_AS, "ulimit -v", "VmSize"),
        (resource.RLIMIT_DATA, "ulimit -d", "VmData"),
    ):
        limit = resource.getrlimit(number)[0]
        if limit != resource.RLIM_INFINITY and field in used:
            yield Available(limit - used[field], f"{name} {limit // 1024}")


def _of_machine() -> Iterator[Available]:
    found = _fields(Path("/proc/meminfo"))
    if "MemAvailable" in found:
        yield Available(found["MemAvailable"], "MemAvailable of this machine")


def _of_cgroups() -> Iterator[Available]:
    """Yield the available memory of each control group of this process, in versions 2 and 1."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if not controllers:
                yield from _of_tree(CGROUPS, path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _of_tree(CGROUPS / "memory", path, names)


def _of_tree(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[Available]:
    group = root / path.strip("/")
    for folder in dict.fromkeys((group, *group.parents)):
        if folder != root and root not in folder.parents:
            break
        with contextlib.suppress(OSError, ValueError):  # without a limit the file has max, or does not exist
            limit, used = (int((folder / name).read_text()) for name in names[:2])
            cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield Available(limit - used + int(cached.get(names[2], 0)), "the memory limit of its control group")


def _fields(path: Path) -> dict[str, int]:
    """Return the lines `Name:  123 kB` of a file, in bytes."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, rest = line.partition(":")
            if rest.endswith(" kB"):
                found[name] = 1024 * int(rest.split()[0])
    return found

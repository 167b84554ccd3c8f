"""The hosts of a job and the ranks on each, from its launcher's variables. Imports no TensorFlow."""

from __future__ import annotations

import bisect
import itertools
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.distributed.job.job import MOST, tasks_per_node, whole_number
from vaeflow.echo import shown
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.distributed.job.job import Job

HOSTS = "VAEFLOW_HOSTS"
LOOPBACK = "127.0.0.1"
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_COMMA_OUTSIDE = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Hosts:
    """The hosts of a job.

    Attributes:
        names: of each host, in the order of the ranks; empty if the launcher does not provide them.
        processes: their number on each host.
        index: of this process's host.
    """

    names: tuple[str, ...]
    processes: tuple[int, ...]
    index: int

    @classmethod
    def of(cls, job: Job, environ: Mapping[str, str]) -> Hosts:
        """Return the hosts of a job that srun or mpirun started.

        Args:
            job: this process's place in it.
            environ: the environment's variables.

        Raises:
            UsageError: if they do not fit the job.
        """
        if job.local_processes == job.processes:
            return cls((socket.gethostname(),), (job.processes,), 0)
        return _of_step(environ) if job.launcher == "srun" else _of_mpi(job, environ)

    @property
    def name(self) -> str:
        """A name of this host that is unique in the job."""
        return self.names[self.index] or f"host-{self.index}"

    def in_order(self, job: Job) -> bool:
        """Return whether this process's rank fits consecutive ranks on each host."""
        here = self.processes[self.index] if self.index < len(self.processes) else 0
        return (sum(self.processes[: self.index]), here) == (job.rank - job.local_rank, job.local_processes)

    def cross(self, local_rank: int) -> tuple[int, int]:
        """Return this process's rank among the processes with the same local rank, one per host, and their number.

        >>> Hosts(("a", "b", "c"), (2, 1, 2), 2).cross(1)
        (1, 2)
        """
        has = [count > local_rank for count in self.processes]
        return sum(has[: self.index]), sum(has)


def _of_step(environ: Mapping[str, str]) -> Hosts:
    names = expand(environ.get("SLURM_STEP_NODELIST", ""))
    counts = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if len(names) != len(counts):
        raise UsageError(f"SLURM names {len(names)} hosts (SLURM_STEP_NODELIST) and counts tasks on {len(counts)}")
    return Hosts(tuple(names), tuple(counts), whole_number(environ, "SLURM_NODEID"))


def _of_mpi(job: Job, environ: Mapping[str, str]) -> Hosts:
    """Check the hosts. Open MPI provides no names of hosts: the user sets them, or all are assumed to be equal."""
    named = _named(environ.get(HOSTS, ""))
    names = tuple(host for host, _ in named) or ("",) * (job.processes // job.local_processes)
    counts = tuple(slots for _, slots in named) or (job.local_processes,) * len(names)
    hosts = Hosts(names, counts, _index(counts, job.rank))
    if sum(counts) == job.processes and hosts.in_order(job):
        return hosts
    raise UsageError(
        f"mpirun made rank {job.rank} of {job.processes} number {job.local_rank} of {job.local_processes} on its host, "
        f"which does not fit {f'{HOSTS}={environ[HOSTS]}' if named else 'hosts with equal numbers of processes'}: "
        f"start with --map-by slot, and name the hosts in mpirun's order by -x {HOSTS}=host1:4,host2:2"
    )


def _named(text: str) -> list[tuple[str, int]]:
    """Return the hosts that the user has set, and the processes on each."""
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    if any(not host or (colon and not (slots.isdecimal() and len(slots) < 10)) for host, colon, slots in parts):
        raise UsageError(f"{HOSTS}={text!r} is not a list of hosts and their processes, such as host1:4,host2:2")
    return [(host, int(slots or 1)) for host, _, slots in parts]


def _index(counts: Sequence[int], rank: int) -> int:
    return bisect.bisect_right(list(itertools.accumulate(counts, initial=0)), rank) - 1


def expand(hosts: str) -> list[str]:
    """Expand SLURM's short list of hosts.

    Raises:
        UsageError: if it is invalid, or has too many hosts.

    >>> expand("n[1-2,07-09],login")
    ['n1', 'n2', 'n07', 'n08', 'n09', 'login']
    >>> expand("rack[1-2]node[3,5]")
    ['rack1node3', 'rack1node5', 'rack2node3', 'rack2node5']
    """
    names = [name for part in _COMMA_OUTSIDE.split(hosts) for name in _expand_one(part, hosts)]
    if not all(names):
        raise _no_list(hosts)
    return names


def _expand_one(pattern: str, hosts: str) -> list[str]:
    found = _BRACKETS.search(pattern)
    if not found:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    numbers = [number for part in found[1].split(",") for number in _range(part, hosts)]
    rest = _expand_one(after, hosts)
    if len(numbers) * len(rest) > MOST:
        raise _no_list(hosts)
    return [f"{before}{number}{name}" for number in numbers for name in rest]


def _range(part: str, hosts: str) -> list[str]:
    matched = _RANGE.fullmatch(part)
    first, last = (int(matched[1]), int(matched[2] or matched[1])) if matched else (1, 0)
    if not matched or not first <= last < first + MOST:
        raise _no_list(hosts)
    return [str(n).zfill(len(matched[1])) for n in range(first, last + 1)]


def _no_list(hosts: str) -> UsageError:
    return UsageError(f"SLURM_STEP_NODELIST={shown(hosts)} is not a list of hosts, such as node[1-4,7]")

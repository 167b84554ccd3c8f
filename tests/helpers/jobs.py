"""Starts the command as a job of several processes, the way launchers do."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.fork_server import server, worker_of
from helpers.small_runs import python

if TYPE_CHECKING:
    from collections.abc import Iterable

HOROVOD = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not installed: vaeflow horovod install"
)
TOPOLOGIES = [
    pytest.param("mirrored", 2, id="mirrored x2"),
    pytest.param("mirrored", 3, id="mirrored x3"),
    pytest.param("multiworker", 2, id="multiworker x2"),
    pytest.param("horovod", 2, id="horovod x2", marks=[pytest.mark.horovod, HOROVOD]),
    pytest.param("horovod", 3, id="horovod x3", marks=[pytest.mark.horovod, HOROVOD]),
]
PATIENCE = 240  # seconds


def usual(topologies: Iterable[Any], *names: str) -> list[Any]:
    """Return topologies; those whose names are not given repeat what the others show: they run with `--all`."""
    topologies = list(topologies)
    assert {topology.id for topology in topologies} >= set(names), names
    return [
        one if one.id in names else pytest.param(*one.values, id=one.id, marks=[*one.marks, pytest.mark.repetition])
        for one in topologies
    ]


LAUNCHERS = ("TF_CONFIG", "HOROVOD_RANK", "HOROVOD_SIZE")


@dataclass(frozen=True)
class Finished:
    """What a job left.

    Attributes:
        codes: exit codes by rank.
        outputs: standard output and error by rank.
    """

    codes: list[int]
    outputs: list[str]


def job(kind: str, count: int, *arguments: object, **options: Any) -> Finished:
    """Run `vaeflow ARGUMENTS` as a job to its end, see `begin`."""
    return finish(begin(kind, count, *arguments, **options))


def begin(
    kind: str,
    count: int,
    *arguments: object,
    cwd: Path | None = None,
    program: tuple[str, ...] = ("-m", "vaeflow"),
    plain: bool = False,
) -> list[subprocess.Popen[str]]:
    """Start `vaeflow ARGUMENTS` as a job; return the processes that were started, which are launchers or ranks.

    Args:
        kind: `single`, `mirrored`, `multiworker` or `horovod`.
        count: replicas.
        arguments: of the command; `strategy=KIND` follows them.
        cwd: where it runs.
        program: what Python runs.
        plain: start Python as a shell does, not from the fork server.
    """
    settings = [f"strategy={kind}"]
    if kind == "mirrored":
        settings.append(f"strategy.replicas={count}")
    command = [*python(plain=plain), *program, *map(str, arguments), *settings]
    if kind == "horovod":
        programs = Path(sys.executable).parent if plain else server().programs
        return [start([str(programs / "horovodrun"), "-np", str(count), "--gloo", *command], cwd)]
    if kind == "multiworker":
        return [start(command, cwd, TF_CONFIG=config) for config in tf_configs(count)]
    return [start(command, cwd)]


def process_of_rank(kind: str, rank: int, processes: list[subprocess.Popen[str]], mark: object) -> int:
    """Return the process number of a rank of a job that runs.

    Args:
        kind: of the job.
        rank: in it.
        processes: what `begin` returned.
        mark: an argument of the command that no other process has.
    """
    if kind != "horovod":
        return worker_of(processes[rank].pid)
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            environ = (path / "environ").read_bytes().split(b"\0")
            ours = b"vaeflow" in arguments and str(mark).encode() in arguments
            if ours and f"HOROVOD_RANK={rank}".encode() in environ:
                return worker_of(int(path.name))
    raise LookupError(f"rank {rank} of {mark} does not run")


def tf_configs(count: int) -> list[str]:
    """Return TF_CONFIG for each of some workers on loopback."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})
        for rank in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(command: list[str], cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start a process without a launcher's variables but those given."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**kept, **environment}, cwd=cwd
    )


def finish(processes: list[subprocess.Popen[str]], patience: float = PATIENCE) -> Finished:
    """Wait for processes, each for some seconds at most; none outlives the test."""
    try:
        outputs = [process.communicate(timeout=patience)[0] for process in processes]
    finally:
        for process in processes:
            with process:  # waits, and closes its pipe
                process.kill()
    return Finished([process.returncode for process in processes], outputs)


def summary_of(run_dir: Path) -> dict[str, Any]:
    """Return a run's summary."""
    return json.loads((run_dir / "summary.json").read_text())

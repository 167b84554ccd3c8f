"""Machines of their own on this one: each a set of namespaces, with its own processes, network, name and /etc files.

They live as long as the process that stands for each. Ending it ends all that runs inside and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "mount")
NETWORK = "10.77.0"
CARD = "hv0"
"""The network interface that joins two machines."""

# The shell reaps what is orphaned inside, as an init must. /run is empty, so that daemons meet nothing of the host's.
INIT = """
set -e
hostname "$1"; ip link set lo up
mount -t tmpfs none /run
for file in $(cd "$2" && ls); do mount --bind "$2/$file" "/etc/$file"; done
echo ready
while :; do sleep 1; done
"""


@dataclass(frozen=True)
class Machine:
    """A machine that is on.

    Attributes:
        name: its host name.
        pid: the process that stands for it.
        environment: variables of what runs on it.
    """

    name: str
    pid: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *command: str) -> list[str]:
        """Return a command line that runs on it, from outside."""
        return ["nsenter", f"--target={self.pid}", "-n", "-u", "-m", "-p", f"--wd={os.getcwd()}", *command]  # noqa: PTH109

    def popen(self, *command: str, **options) -> subprocess.Popen:
        """Start something on it."""
        environment = {**os.environ, **self.environment, **options.pop("env", {})}
        return subprocess.Popen(self.command(*command), env=environment, **options)

    def run(self, *command: str, timeout: float = 240, check: bool = True, **options) -> subprocess.CompletedProcess:
        """Run something on it to its end; what it printed is kept, errors with it."""
        environment = {**os.environ, **self.environment, **options.pop("env", {})}
        done = subprocess.run(
            self.command(*command),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, **options},
            env=environment,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{self.name}: {command}: {done.returncode}\n{done.stdout}"
        return done

    def bytes_sent(self) -> int:
        """Return what has left it for the other machine, in bytes."""
        lines = self.run("cat", "/proc/net/dev").stdout.splitlines()
        return next(int(line.split()[9]) for line in lines if line.split()[0] == f"{CARD}:")

    def programs(self) -> dict[int, str]:
        """Return the command lines of what runs on it, by their numbers there."""
        lines = self.run("ps", "-A", "-o", "pid=,args=").stdout.splitlines()
        return {int(number): line for number, _, line in (line.strip().partition(" ") for line in lines)}


@contextlib.contextmanager
def machine(
    folder: Path, name: str, etc: Mapping[str, str | Path], environment: Mapping[str, str]
) -> Iterator[Machine]:
    """Switch a machine on, and off at the end.

    Args:
        folder: a directory for its files.
        name: its host name.
        etc: files of its /etc: their text, or the directory that is there instead.
        environment: variables of what runs on it.
    """
    files = folder / f"etc-{name}"
    files.mkdir()
    for file, content in etc.items():
        if isinstance(content, Path):
            (files / file).symlink_to(content)
        else:
            (files / file).write_text(content)
    spaces = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "bash", "-c", INIT, "init", name, str(files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n", f"{name} did not start"
            inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield Machine(name, int(inner), environment)
        finally:
            process.kill()


def joined(one: Machine, other: Machine) -> None:
    """Lay a cable between two machines: addresses 10.77.0.1 and 10.77.0.2."""
    cable = ["ip", "link", "add", CARD, "netns", str(one.pid), "type", "veth"]
    subprocess.run([*cable, "peer", "name", CARD, "netns", str(other.pid)], check=True)
    for number, each in enumerate((one, other), start=1):
        each.run("ip", "addr", "add", f"{NETWORK}.{number}/24", "dev", CARD)
        each.run("ip", "link", "set", CARD, "up")


def tools(folder: Path) -> dict[str, str]:
    """Return variables under which `vaeflow` is this tree's, and a home that is nobody's."""
    beside = folder / "bin"
    beside.mkdir()
    script = beside / "vaeflow"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m vaeflow "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(beside), str(Path(sys.executable).parent), "/usr/sbin", os.environ["PATH"]])
    return {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT)}


def wait_until(ready, what: str, seconds: float = 20) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} after {seconds} s"
        time.sleep(0.1)


def missing(programs: Sequence[str]) -> list[str]:
    """Return what stands in the way of these tests."""
    import shutil

    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    absent = [program for program in (*PROGRAMS, *programs) if not shutil.which(program, path=path)]
    return [*(["root"] if os.geteuid() else []), *absent]

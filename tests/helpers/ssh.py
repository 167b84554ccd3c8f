"""Two machines that reach each other by ssh without a password, by keys of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from helpers.machines import NETWORK, joined, machine, tools, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.machines import Machine

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
NAMES = ("h1", "h2")

SERVER = """
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
StrictModes no
UsePAM no
UseDNS no
PidFile none
"""
CLIENT = """
Host *
  IdentityFile {keys}/user
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Switch on h1 and h2, with a cable between them and sshd on both."""
    keys = folder / "ssh"
    keys.mkdir()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(command, check=True)
    (keys / "sshd_config").write_text(SERVER.format(keys=keys))
    (keys / "ssh_config").write_text(CLIENT.format(keys=keys))
    addresses = "".join(f"{NETWORK}.{number} {name}\n" for number, name in enumerate(NAMES, start=1))
    etc = {"hosts": f"127.0.0.1 localhost\n{addresses}", "ssh": keys}
    environment = tools(folder)
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(machine(folder, name, etc, environment)) for name in NAMES)
        joined(one, two)
        for each in (one, two):
            _start_sshd(stack, each, folder)
        for each, other in ((one, two), (two, one)):
            wait_until(lambda each=each, other=other: _reaches(each, other), f"{each.name} does not reach {other.name}")
        yield one, two


def _start_sshd(stack: contextlib.ExitStack, each: Machine, folder: Path) -> None:
    log = stack.enter_context((folder / f"sshd-{each.name}.log").open("w"))
    run = "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"
    process = each.popen("sh", "-c", run, stdout=log, stderr=log, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)


def _reaches(each: Machine, other: Machine) -> bool:
    return each.run("ssh", "-o", "StrictHostKeyChecking=no", other.name, "true", check=False).returncode == 0

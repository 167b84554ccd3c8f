"""A real SLURM on machines of `machines`: a controller, a daemon for each node, and munge for their keys."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.machines import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from helpers.machines import Machine

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CORES = 4

CONFIG = """
ClusterName=t
SlurmctldHost={controller}({address})
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdTimeout=60
KillWait=5
{nodes}
PartitionName=p Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs={cores} Sockets=1 "
    "CoresPerSocket={cores} ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN"
)


@dataclass(frozen=True)
class Node:
    """A node: several can be on one machine.

    Attributes:
        name: SLURM's.
        machine: where it runs.
        address: by which the others reach it.
    """

    name: str
    machine: Machine
    address: str


@dataclass(frozen=True)
class Slurm:
    """A cluster that is up.

    Attributes:
        machine: where the controller runs and jobs are submitted.
        folder: its files.
    """

    machine: Machine
    folder: Path

    def run(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Run a command of SLURM's."""
        return self.machine.run(*command, **{**options, "env": {**self.variables, **options.get("env", {})}})

    @property
    def variables(self) -> dict[str, str]:
        """What SLURM's commands need to find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def state(self, job: str) -> str:
        """Return a job's state, such as RUNNING."""
        return self.run("scontrol", "--oneliner", "show", "job", job).stdout.partition("JobState=")[2].split()[0]

    def sbatch(self, *arguments: str, **options) -> tuple[int, str]:
        """Submit a job and wait for its end; return its exit code and what it printed."""
        output = self.folder / "job.out"
        output.unlink(missing_ok=True)
        done = self.run("sbatch", "--wait", f"--output={output}", *arguments, check=False, **options)
        return done.returncode, done.stdout + (output.read_text() if output.exists() else "")


@contextlib.contextmanager
def slurm(folder: Path, nodes: Sequence[Node]) -> Iterator[Slurm]:
    """Start SLURM on machines, the controller on the first; they end with their machines at the latest."""
    folder.mkdir()
    for name in ("state", *(f"spool.{node.name}" for node in nodes)):
        (folder / name).mkdir()
    _configure(folder, nodes)
    controller = nodes[0].machine
    cluster = Slurm(controller, folder)
    with contextlib.ExitStack() as stack:
        munge = [f"--{file}={folder / file}" for file in ("key-file", "pid-file", "log-file", "seed-file")]
        _daemon(
            stack, controller, cluster, "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge
        )
        wait_until((folder / "munge.socket").exists, "munged has no socket")
        _daemon(stack, controller, cluster, "slurmctld", "-D", "-c")
        for node in nodes:
            _daemon(stack, node.machine, cluster, "slurmd", "-D", "-N", node.name)

        def idle() -> bool:
            states = cluster.run("sinfo", "-h", "-N", "-o", "%T", check=False).stdout.split()
            return states == ["idle"] * len(nodes)

        wait_until(idle, f"the nodes are not idle: see {folder}", seconds=30)
        yield cluster


def _configure(folder: Path, nodes: Sequence[Node]) -> None:
    lines = [
        NODE.format(name=node.name, host=node.machine.name, address=node.address, port=17000 + number, cores=CORES)
        for number, node in enumerate(nodes, start=1)
    ]
    first = nodes[0]
    text = CONFIG.format(controller=first.machine.name, address=first.address, folder=folder, nodes="\n".join(lines))
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    key = folder / "key-file"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)


def _daemon(stack: contextlib.ExitStack, machine: Machine, cluster: Slurm, *command: str) -> None:
    """Start a daemon; nsenter stays between, so it is ended by the group of both."""
    log = stack.enter_context((cluster.folder / f"{command[0]}.out").open("a"))
    process = machine.popen(*command, env=cluster.variables, stdout=log, stderr=log, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)

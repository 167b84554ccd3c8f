"""Check in a separate process whether Horovod is installed and can be imported."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass

PATIENCE = 300.0  # seconds: TensorFlow takes four, and much longer on a busy network file system
QUESTION = """
import json
import horovod.tensorflow as hvd
print()
print(json.dumps({"gloo": bool(hvd.gloo_built()), "mpi": bool(hvd.mpi_built()), "nccl": bool(hvd.nccl_built())}))
"""


@dataclass(frozen=True)
class Found:
    """The state of Horovod in this Python.

    Attributes:
        version: the installed version, or empty.
        problem: why it cannot be used, or empty.
        gloo: whether it has Gloo's operations.
        mpi: whether it has MPI's.
        nccl: whether it has NCCL's.
    """

    version: str = ""
    problem: str = ""
    gloo: bool = False
    mpi: bool = False
    nccl: bool = False

    @property
    def works(self) -> bool:
        """Whether several processes can train with it."""
        return bool(self.version) and not self.problem

    @property
    def operations(self) -> str:
        """What it was built with, in words."""
        names = [name for name, there in (("Gloo", self.gloo), ("MPI", self.mpi), ("NCCL", self.nccl)) if there]
        return " and ".join(names) or "nothing"


def probe() -> Found:
    """Import Horovod in a child process, because a wrong build may crash the process.

    This takes seconds if Horovod is installed, because it imports TensorFlow.
    """
    try:
        version = importlib.metadata.version("horovod")
    except importlib.metadata.PackageNotFoundError:
        return Found(problem="it is not installed")
    command = [sys.executable, "-P", "-c", QUESTION]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Found(version, f"importing it did not end in {PATIENCE:g} s")
    if done.returncode:
        return Found(version, f"it cannot be imported: {_reason(done)}")
    found = Found(version, **json.loads(done.stdout.splitlines()[-1]))
    return found if found.gloo or found.mpi else Found(version, "it is built without Gloo and MPI")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}"
    lines = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {done.returncode}"

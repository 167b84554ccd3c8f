"""The launchers: each fills in its file of `launch/` and has the command that runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from vaeflow.distributed.launching.files import launch_file
from vaeflow.distributed.launching.templates import with_arguments, with_directives, with_values, with_variables
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.distributed.launching.train_command import Training

_HOST = re.compile(r"[^:,\s]+(:[1-9]\d*)?")
_POD_NAME = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")


class Launcher(Protocol):
    """A way to start the processes of a run."""

    @property
    def command(self) -> tuple[str, ...]:
        """What takes the file: as a last argument after `bash -c`, otherwise on its standard input."""

    def text(self) -> str:
        """Return the file, complete."""


@dataclass(frozen=True)
class Local:
    """Processes on this machine.

    Attributes:
        training: what is started.
        run_dir: the run's directory; empty for the next free one.
        restarts: how often processes that died are started again.
        resume: resume the run if the directory contains it.
    """

    training: Training
    run_dir: str = ""
    restarts: int = 0
    resume: bool = False
    command: ClassVar[tuple[str, ...]] = ("bash", "-c")

    def text(self) -> str:
        """Return the shell script."""
        variables = {
            "PROCESSES": str(self.training.processes),
            "STRATEGY": self.training.strategy,
            "RESTARTS": str(self.restarts),
        }
        return with_variables(
            with_arguments(launch_file("local.sh"), _arguments(self.training, self.run_dir, resume=self.resume)),
            variables,
        )


@dataclass(frozen=True)
class Hosts:
    """Horovod over hosts that ssh reaches.

    Attributes:
        training: what is started.
        hosts: NAME:PROCESSES, with commas between.
        interface: network interface; empty for one that horovodrun finds.
        run_dir: the run's directory; empty for the next free one.
        resume: resume the run if the directory contains it.
    """

    training: Training
    hosts: str
    interface: str = ""
    run_dir: str = ""
    resume: bool = False
    command: ClassVar[tuple[str, ...]] = ("bash", "-c")

    def text(self) -> str:
        """Return the shell script."""
        script = with_arguments(
            launch_file("horovodrun.sh"), _arguments(self.training, self.run_dir, resume=self.resume)
        )
        return with_variables(script, {"HOSTS": self.hosts, **_given(INTERFACE=self.interface)})


def processes_on(hosts: str) -> int:
    """Return the total number of processes of hosts.

    Raises:
        UsageError: if it is no list of hosts.

    >>> processes_on("host1:4,host2:2,host3")
    7
    """
    found = hosts.split(",")
    for host in found:
        if not _HOST.fullmatch(host):
            raise UsageError(f"--hosts: {host!r} is not NAME:PROCESSES, such as host1:4,host2:4")
    return sum(int(host.partition(":")[2] or 1) for host in found)


@dataclass(frozen=True)
class Slurm:
    """A batch job of SLURM.

    Attributes:
        training: what is started.
        nodes: how many.
        options: more options of sbatch by their long names, without a value for a flag.
        setup: a file that the job sources first; empty for none.
        run_dir: the run's directory; empty for `runs/slurm-JOB`.
    """

    training: Training
    nodes: int
    options: Mapping[str, str]
    setup: str = ""
    run_dir: str = ""
    command: ClassVar[tuple[str, ...]] = ("sbatch",)

    def text(self) -> str:
        """Return the batch file."""
        batch = with_arguments(launch_file(f"slurm-{self.training.strategy}.sbatch"), self.training.arguments)
        batch = with_variables(batch, _given(SETUP=self.setup, RUN_DIR=self.run_dir))
        tasks = self.training.processes // self.nodes
        return with_directives(batch, {"nodes": str(self.nodes), "ntasks-per-node": str(tasks), **self.options})


@dataclass(frozen=True)
class Kubernetes:
    """A job of Kubeflow, a process a pod: an MPIJob for horovod, a TFJob for multiworker.

    Attributes:
        training: what is started.
        name: of the job.
        image: of the container.
        claim: the volume claim that is mounted at /runs.
        limits: of a pod, by resource.
        run_dir: the run's directory; empty for /runs/NAME.
    """

    training: Training
    name: str
    image: str
    claim: str
    limits: Mapping[str, str]
    run_dir: str = ""
    command: ClassVar[tuple[str, ...]] = ("kubectl", "apply", "--filename", "-")

    def text(self) -> str:
        """Return the manifest.

        Raises:
            UsageError: if Kubernetes would refuse the name.
        """
        if not _POD_NAME.fullmatch(self.name):
            raise UsageError(
                f"--name: {self.name!r} may only contain a-z, 0-9 and -, start with a letter, at most 42 characters"
            )
        training = self.training
        run_dir = self.run_dir or f"/runs/{self.name}"
        arguments = [*training.arguments, f"--strategy={training.strategy}", f"--run-dir={run_dir}", "--resume=auto"]
        shared = {
            "NAME": self.name,
            "IMAGE": self.image,
            "CLAIM": self.claim,
            "LIMITS": dict(self.limits),
            "PROCESSES": training.processes,
        }
        if training.strategy == "multiworker":
            return with_values(launch_file("kubernetes/tfjob.yaml"), {**shared, "ARGUMENTS": arguments})
        launched = ["-np", str(training.processes), "vaeflow", "train", *arguments]
        return with_values(launch_file("kubernetes/mpijob.yaml"), {**shared, "LAUNCHER_ARGUMENTS": launched})


def _arguments(training: Training, run_dir: str, *, resume: bool) -> list[str]:
    directory = [f"--run-dir={run_dir}"] if run_dir else []
    return [*training.arguments, *directory, *(["--resume=auto"] if resume else [])]


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}

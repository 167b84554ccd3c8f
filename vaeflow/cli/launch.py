"""`vaeflow launch`: print or run the script that starts a run on several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.completion import complete_strategy
from vaeflow.cli.group import TeachingGroup
from vaeflow.cli.shared import (
    data_dir_option,
    examples,
    plugin_option,
    recipe_argument,
    resume_option,
    settings_argument,
    wants_resume,
)
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaeflow.distributed.launching.launchers import Launcher
    from vaeflow.distributed.launching.train_command import Training

AT_LEAST_ONE = click.IntRange(min=1)


@click.group(
    cls=TeachingGroup,
    epilog=examples(
        "vaeflow launch local mnist-2d --processes 2 --strategy horovod -- seed=1",
        "vaeflow launch hosts mnist-2d --hosts host1:4,host2:4 --run",
        "vaeflow launch slurm mnist-2d --nodes 2 --processes-per-node 4 > job.sbatch",
        "vaeflow launch kubernetes mnist-2d --processes 8 --image registry.example.org/vaeflow",
    ),
)
def launch() -> None:
    """Train a recipe on several processes: print the launch script, or run it.

    The output is a complete file: a bash script, a batch file for sbatch or a manifest for kubectl. --run runs it with
    that command.
    """


def _launcher(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options of every launcher."""
    for decorate in reversed(
        (
            recipe_argument,
            settings_argument,
            click.option("--run", is_flag=True, help="Run the script instead of printing it."),
            click.option("--run-dir", default="", help="Directory of the run. Example: --run-dir runs/first"),
            plugin_option,
            data_dir_option,
        )
    ):
        function = decorate(function)
    return function


strategy_option = click.option(
    "--strategy",
    default="horovod",
    show_default=True,
    metavar="NAME",
    help="Strategy that connects the processes: horovod or multiworker.",
    shell_complete=complete_strategy,
)


@launch.command()
@_launcher
@resume_option
@click.option("--processes", type=AT_LEAST_ONE, default=2, show_default=True, help="Number of processes.")
@strategy_option
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many times the job is restarted from its newest checkpoint if a process dies. Needs --run-dir.",
)
def local(
    *, processes: int, strategy: str, restarts: int, run: bool, run_dir: str, resume_: str, **training: Any
) -> None:
    """Start processes on this machine.

    Example: vaeflow launch local mnist-2d --processes 2 --run
    """
    from vaeflow.distributed.launching.launchers import Local

    if restarts and not run_dir:
        raise UsageError("--restarts needs --run-dir: the directory of the run to resume")
    resume = wants_resume(resume_, run_dir)
    started = _checked(processes=processes, strategy=strategy, **training)
    _finish(Local(started, run_dir, restarts, resume=resume), run=run)


@launch.command()
@_launcher
@resume_option
@click.option("--hosts", required=True, help="Hosts as NAME:PROCESSES,... Example: --hosts host1:4,host2:4")
@click.option("--interface", default="", help="Network interface for all traffic. Example: --interface eth0")
def hosts(*, hosts: str, interface: str, run: bool, run_dir: str, resume_: str, **training: Any) -> None:
    """Start Horovod processes on hosts that accept ssh without a password.

    Example: vaeflow launch hosts mnist-2d --hosts host1:4,host2:4
    """
    from vaeflow.distributed.launching.launchers import Hosts, processes_on

    resume = wants_resume(resume_, run_dir)
    started = _checked(processes=processes_on(hosts), strategy="horovod", **training)
    _finish(Hosts(started, hosts, interface, run_dir, resume=resume), run=run)


@launch.command()
@_launcher
@click.option("--nodes", type=AT_LEAST_ONE, default=2, show_default=True, help="Number of nodes.")
@click.option(
    "--processes-per-node", type=AT_LEAST_ONE, default=4, show_default=True, help="Processes per node; use one per GPU."
)
@click.option("--cpus-per-process", type=AT_LEAST_ONE, default=1, show_default=True, help="CPU cores per process.")
@click.option(
    "--gpus-per-process", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs per process: 0 or 1."
)
@strategy_option
@click.option("--setup", default="", help="Shell file that the batch job sources first. Example: --setup modules.sh")
@click.option(
    "--sbatch",
    "more",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Additional sbatch option. May be repeated. Example: --sbatch time=2:00:00",
)
def slurm(
    *,
    nodes: int,
    processes_per_node: int,
    cpus_per_process: int,
    gpus_per_process: int,
    strategy: str,
    setup: str,
    more: tuple[str, ...],
    run: bool,
    run_dir: str,
    **training: Any,
) -> None:
    """Start a SLURM batch job.

    Example: vaeflow launch slurm mnist-2d --nodes 2 --processes-per-node 4 --strategy multiworker
    """
    from vaeflow.distributed.launching.launchers import Slurm

    options = {"cpus-per-task": str(cpus_per_process)}
    if gpus_per_process:
        options["gpus-per-task"] = str(gpus_per_process)
    options |= {name.lstrip("-"): value for name, _, value in (one.partition("=") for one in more)}
    started = _checked(processes=nodes * processes_per_node, strategy=strategy, **training)
    _finish(Slurm(started, nodes, options, setup, run_dir), run=run)


@launch.command()
@_launcher
@click.option(
    "--processes", type=AT_LEAST_ONE, default=2, show_default=True, help="Number of pods; each runs one process."
)
@strategy_option
@click.option("--name", default="vaeflow", show_default=True, help="Name of the job.")
@click.option("--image", help="Container image, see launch/kubernetes. [default: vaeflow, or vaeflow:cuda with --gpus]")
@click.option("--claim", default="vaeflow-runs", show_default=True, help="Volume claim that is mounted at /runs.")
@click.option("--cpus", default="1", show_default=True, help="CPU cores per pod.")
@click.option("--memory", default="4Gi", show_default=True, help="Memory per pod.")
@click.option("--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="NVIDIA GPUs per pod.")
def kubernetes(
    *,
    processes: int,
    strategy: str,
    name: str,
    image: str | None,
    claim: str,
    cpus: str,
    memory: str,
    gpus: int,
    run: bool,
    run_dir: str,
    **training: Any,
) -> None:
    """Start a Kubeflow job: an MPIJob for horovod, a TFJob for multiworker.

    No container runs as root. Without --image, a line on standard error says how the image is built, and whether this
    machine can build it.

    Example: vaeflow launch kubernetes mnist-2d --processes 4 --image registry.example.org/vaeflow
    """
    from vaeflow.distributed.launching.container import build_hint
    from vaeflow.distributed.launching.launchers import Kubernetes

    limits = {"cpu": cpus, "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    started = _checked(processes=processes, strategy=strategy, **training)
    default = "vaeflow:cuda" if gpus else "vaeflow"
    launcher = Kubernetes(started, name, image or default, claim, limits, run_dir)
    launcher.text()  # refuses a wrong name before anything is printed
    if image is None:
        click.echo(f"vaeflow: {build_hint(gpus=gpus > 0)}", err=True)
    _finish(launcher, run=run)


def _checked(
    *,
    recipe: str | None,
    settings: tuple[str, ...],
    processes: int,
    strategy: str,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> Training:
    from vaeflow.distributed.launching.train_command import Training

    if recipe is None:
        raise UsageError("RECIPE is missing, for example: vaeflow launch local mnist-2d (vaeflow recipes lists them)")
    training = Training(recipe, settings, strategy, processes, modules, data_dir)
    training.check()
    return training


def _finish(launcher: Launcher, *, run: bool) -> None:
    if not run:
        click.echo(launcher.text(), nl=False)
        return
    from vaeflow.distributed.launching.run import start

    click.get_current_context().exit(start(launcher))

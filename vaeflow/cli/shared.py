"""Arguments and options that several commands take."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.completion import complete_recipe, complete_run, complete_setting, complete_strategy
from vaeflow.distributed.job.job import Job
from vaeflow.echo import shown
from vaeflow.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.callbacks.group import Called
    from vaeflow.data.sets import Folders

_plugin = click.option(
    "--plugin",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Load a plugin that isn't installed: a module or the path of a .py file. May be repeated. "
    "Example: --plugin ./resnet.py",
)
_disable_plugin = click.option(
    "--disable-plugin",
    "disabled",
    metavar="NAME",
    multiple=True,
    help="Do not load this installed plugin: a distribution or a module. May be repeated. "
    "Example: --disable-plugin vaeflow-flows",
)


def plugin_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --plugin and --disable-plugin; the command receives them as `modules`, see `Registry.load`."""

    @functools.wraps(command)
    def with_modules(*args: Any, modules: tuple[str, ...], disabled: tuple[str, ...], **options: Any) -> Any:
        return command(*args, modules=(*modules, *(f"no:{name}" for name in disabled)), **options)

    return _plugin(_disable_plugin(with_modules))


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Directory that is searched first for data sets. Example: --data-dir ~/datasets",
)

accept_option = click.option(
    "--accept-changes",
    is_flag=True,
    help="Resume even if config, plugin code or data have changed since the checkpoint, and allow versions, threads "
    "and processors to differ between ranks. The run records the changes. Its weights are then no longer determined by "
    "config and seed.",
)

best_option = click.option(
    "--best",
    is_flag=True,
    help="Use the best checkpoint (highest validation ELBO, or chosen by a callback) instead of the newest.",
)

resume_option = click.option(
    "--resume",
    "resume_",
    type=click.Choice(["never", "auto"]),
    default="never",
    show_default=True,
    help="auto: resume the run in --run-dir if it exists; do nothing if it is finished. Example: --resume auto",
)

profile_option = click.option(
    "--profile",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Profile this many steps, after 20 steps to warm up, for TensorBoard's page Profile. It changes neither the "
    "config nor the weights. Example: --profile 10",
)

strategy_option = click.option(
    "--strategy",
    metavar="NAME",
    help="Short for strategy.name=NAME. Example: --strategy mirrored",
    shell_complete=complete_strategy,
)


recipe_argument = click.argument("recipe", required=False, shell_complete=complete_recipe)

settings_argument = click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)

run_argument = click.argument("run", type=click.Path(path_type=Path), shell_complete=complete_run)


def with_short_options(settings: tuple[str, ...], strategy: str | None, init_from: str | None = None) -> list[str]:
    """Return the settings after those that --strategy and --init-from stand for."""
    short = {"strategy": strategy, "init_from": init_from}
    return [*(f"{key}={value}" for key, value in short.items() if value), *settings]


def profiled(steps: int | None) -> tuple[Called, ...]:
    """Return the callback of --profile."""
    from vaeflow.callbacks.group import Called
    from vaeflow.callbacks.profile import Profile

    return () if steps is None else (Called.own(Profile(steps)),)


def examples(*commands: str) -> str:
    """Return the end of a help text: example commands, one per line."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def require_text(option: str, path: Path | None) -> None:
    """Check that a path is valid UTF-8, which TensorFlow, TOML and JSON need.

    Raises:
        UsageError: if it has another encoding.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: {shown(str(path))} is not text in UTF-8") from None


def wants_resume(resume: str, run_dir: object) -> bool:
    """Return whether `--resume auto` is set.

    Raises:
        UsageError: if it is, and no run directory is given.
    """
    if resume == "auto" and not run_dir:
        raise UsageError("--resume auto needs --run-dir, for example --run-dir runs/first")
    return resume == "auto"


def require_alone(command: str) -> None:
    """Check that the command runs as one process. Several would each do all the work and write the same files.

    Raises:
        UsageError: if a launcher started several processes.
    """
    job = Job.current()
    if job.processes > 1:
        raise UsageError(
            f"{job.launcher} started {job.processes} processes, but vaeflow {command} runs in one: "
            "start it without the launcher"
        )


def require_run(run: Path) -> None:
    """Check that a run's directory exists, before TensorFlow is imported.

    Raises:
        UsageError: if it doesn't.
    """
    if not run.is_dir():
        beside = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
        raise UsageError(f"{run} is not the directory of a run; in {run.parent}: {nearest(run.name, beside)}")


def folders(data_dir: Path | None) -> Folders:
    """Return the folders in which data sets are searched and cached."""
    from vaeflow.data.sets import Folders

    return Folders.default(data_dir)

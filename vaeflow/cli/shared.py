"""Arguments and options that several commands take."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.distributed.job.job import Job
from vaeflow.echo import shown
from vaeflow.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    help="Leave out an installed plugin: a distribution or a module. May be repeated. "
    "Example: --disable-plugin vaeflow-flows",
)


def plugin_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --plugin and --disable-plugin, which reach a command as `modules`, see `Registry.load`."""

    @functools.wraps(command)
    def with_modules(*args: Any, modules: tuple[str, ...], disabled: tuple[str, ...], **options: Any) -> Any:
        return command(*args, modules=(*modules, *(f"no:{name}" for name in disabled)), **options)

    return _plugin(_disable_plugin(with_modules))


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Directory of your own that data sets are looked for in first. Example: --data-dir ~/datasets",
)

accept_option = click.option(
    "--accept-changes",
    is_flag=True,
    help="Resume although config, plugin code or data have changed since the checkpoint; let versions, threads and "
    "processors differ between ranks. The run records it: its weights are then no function of config and seed.",
)

best_option = click.option(
    "--best",
    is_flag=True,
    help="Take the best checkpoint: by the validation split's ELBO, or as a callback chose.",
)

resume_option = click.option(
    "--resume",
    "resume_",
    type=click.Choice(["never", "auto"]),
    default="never",
    show_default=True,
    help="auto: go on with the run if --run-dir has it, and do nothing if it is finished. Example: --resume auto",
)

strategy_option = click.option(
    "--strategy", metavar="NAME", help="Short for strategy.name=NAME. Example: --strategy mirrored"
)

run_argument = click.argument("run", type=click.Path(path_type=Path))


def examples(*commands: str) -> str:
    """Return the end of a help text: commands to copy, each on its line."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def require_text(option: str, path: Path | None) -> None:
    """Check that a path is text: TensorFlow, TOML and JSON keep it as such.

    Raises:
        UsageError: if it is bytes of another encoding.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: {shown(str(path))} is not text in UTF-8") from None


def goes_on(resume: str, run_dir: object) -> bool:
    """Return whether `--resume` says to go on with the run in a directory.

    Raises:
        UsageError: if it does, and no directory is named.
    """
    if resume == "auto" and not run_dir:
        raise UsageError("--resume auto needs --run-dir: which run? For example --run-dir runs/first")
    return resume == "auto"


def require_alone(command: str) -> None:
    """Check that a launcher did not start several processes, each of which would do all and write the same files.

    Raises:
        UsageError: if it did.
    """
    job = Job.current()
    if job.processes > 1:
        raise UsageError(
            f"{job.launcher} started {job.processes} processes, and vaeflow {command} is the work of one: "
            "start it without the launcher"
        )


def require_run(run: Path) -> None:
    """Check that a run's directory exists, before TensorFlow is imported.

    Raises:
        UsageError: if it doesn't.
    """
    if not run.is_dir():
        beside = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
        raise UsageError(f"{run} is no directory of a run; in {run.parent}: {nearest(run.name, beside)}")


def folders(data_dir: Path | None) -> Folders:
    """Return where data sets are looked for and kept."""
    from vaeflow.data.sets import Folders

    return Folders.default(data_dir)

"""`vaeflow train` and `vaeflow resume`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli import recipes
from vaeflow.cli.completion import complete_run
from vaeflow.cli.shared import (
    accept_option,
    data_dir_option,
    examples,
    folders,
    plugin_option,
    profile_option,
    profiled,
    recipe_argument,
    require_run,
    require_text,
    resume_option,
    run_argument,
    settings_argument,
    strategy_option,
    wants_resume,
    with_short_options,
)
from vaeflow.distributed.job.job import Job
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved


@click.command(
    epilog=examples(
        "vaeflow train mnist-2d",
        "vaeflow train mnist-2d epochs=2 seed=1 precision=mixed_bfloat16",
        "vaeflow train mnist-2d optimizer=adam learning_rate=1e-4",
        "vaeflow train ./mine.toml --run-dir runs/mine --dry-run",
    )
)
@recipe_argument
@settings_argument
@strategy_option
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="Directory for the run; it must be new or empty. Example: --run-dir runs/first",
)
@click.option(
    "--init-from",
    metavar="RUN",
    help="Start from the weights of another run; short for init_from=RUN. Example: runs/a",
    shell_complete=complete_run,
)
@resume_option
@accept_option
@plugin_option
@data_dir_option
@profile_option
@click.option("--dry-run", is_flag=True, help="Print the resolved config, parameters, steps and memory; do not train.")
@click.option("--list", "list_", is_flag=True, help="List the recipes and exit.")
def train(
    *,
    recipe: str | None,
    settings: tuple[str, ...],
    strategy: str | None,
    run_dir: Path | None,
    init_from: str | None,
    resume_: str,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
    profile: int | None,
    dry_run: bool,
    list_: bool,
) -> None:
    """Train a model from a recipe.

    RECIPE is the name of a recipe (mnist-2d) or the path of a TOML file (./mine.toml). KEY=VALUE sets one key of the
    config; VALUE is TOML or plain text.
    """
    if list_:
        recipes.list_recipes(modules)
        return
    if recipe is None:
        raise UsageError("RECIPE is missing, for example: vaeflow train mnist-2d (vaeflow recipes lists them)")
    from vaeflow.config.compose import compose
    from vaeflow.config.resolve import resolve
    from vaeflow.plugins.registry import Registry
    from vaeflow.training.run_files.directory import require_free

    require_text("--run-dir", run_dir)
    resume = wants_resume(resume_, run_dir)
    from vaeflow.training.run import run

    def find() -> Resolved:
        registry = Registry.load(modules)
        composed = compose(recipe, with_short_options(settings, strategy, init_from), registry.recipe)
        # In a job of several processes, rank 0 reports this after the rendezvous; the others would wait for it.
        if run_dir is not None and not dry_run and Job.current().processes == 1:
            require_free(run_dir, resume=resume)
        return resolve(composed, registry)

    options = {"dry_run": dry_run, "resume": resume, "accept_changes": accept_changes}
    run(find, run_dir, folders(data_dir), **options, observers=profiled(profile))


@click.command()
@run_argument
@click.argument("settings", nargs=-1, metavar="[strategy.KEY=VALUE]...")
@strategy_option
@accept_option
@plugin_option
@data_dir_option
@profile_option
def resume(
    *,
    run: Path,
    settings: tuple[str, ...],
    strategy: str | None,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
    profile: int | None,
) -> None:
    """Resume a run that was stopped or killed, from its newest valid checkpoint.

    RUN is the directory of the run. The final weights equal those of an uninterrupted run bit for bit if the number of
    replicas is the same as before, or if microbatches is a number.

    Example: vaeflow resume runs/mnist-2d --strategy mirrored strategy.replicas=2
    """
    if Job.current().processes == 1:  # with several processes, the ranks exchange this error later
        require_run(run)
    from vaeflow.training.run import resume as resume_run

    wanted = with_short_options(settings, strategy)
    resume_run(
        run,
        modules,
        settings=wanted,
        folders=folders(data_dir),
        accept_changes=accept_changes,
        observers=profiled(profile),
    )

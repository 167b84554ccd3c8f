"""`vaeflow sweep`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli.completion import complete_recipe, complete_setting
from vaeflow.cli.shared import data_dir_option, examples, plugin_option, require_alone
from vaeflow.errors import UsageError


@click.command(
    epilog=examples(
        "vaeflow sweep mnist-mlp-20 seed=0..2 latent_size=2,10,50 epochs=5 --out runs/sizes",
        "vaeflow sweep mnist-mlp-20 seed=0..9 --out runs/seeds --slurm > sweep.sbatch",
    )
)
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE[,VALUE]...", shell_complete=complete_setting)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the runs. Example: runs/sizes",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at a time; default: as many as the cores suffice for. Example: --jobs 2",
)
@click.option("--only", type=click.IntRange(min=0), help="Train one run of the grid, counted from 0. Example: --only 3")
@click.option("--slurm", is_flag=True, help="Print a job array for sbatch, with a task per run; train nothing.")
@click.option("--dry-run", is_flag=True, help="Print the runs; train nothing.")
@plugin_option
@data_dir_option
def sweep(
    *,
    recipe: str,
    settings: tuple[str, ...],
    out: Path,
    jobs: int | None,
    only: int | None,
    slurm: bool,
    dry_run: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Train every combination of settings, and compare the runs.

    The VALUE of a setting is a list (latent_size=2,10,50) or a range (seed=0..2); other settings are the same for all
    runs. The runs' directories and their output are in the folder --out. The same command resumes an interrupted
    sweep; runs that have finished are not repeated.
    """
    require_alone("sweep")
    from vaeflow.commands.sweep import Sweep, jobs_that_fit, slurm_array
    from vaeflow.commands.sweep_run import run_sweep
    from vaeflow.distributed.launching.train_command import plugin_options

    options = (*plugin_options(modules), *([f"--data-dir={data_dir}"] if data_dir else []))
    grid = Sweep(recipe, settings, out, options, modules)
    points = grid.points()
    threads = grid.check(points)
    if only is not None and only >= len(points):
        raise UsageError(f"--only {only}: the grid has {len(points)} runs, 0 to {len(points) - 1}")
    if slurm:
        click.echo(slurm_array(grid, len(points), threads), nl=False)
        return
    chosen = points if only is None else [points[only]]
    if dry_run:
        for point in chosen:
            click.echo(f"{point.run_dir}{'  (finished)' if point.finished else ''}")
        return
    run_sweep(grid, chosen, jobs or jobs_that_fit(threads))
    if len(chosen) > 1:
        from vaeflow.cli.compare import lines_of
        from vaeflow.commands.compare import compare

        click.echo("\n".join(lines_of(compare([point.run_dir for point in points]))))

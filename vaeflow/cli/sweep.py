"""`vaeflow sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli.completion import complete_recipe, complete_setting
from vaeflow.cli.shared import data_dir_option, examples, plugin_option, require_alone
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.commands.sweep import Sweep


@click.command(
    epilog=examples(
        "vaeflow sweep mnist-mlp-20 seed=0..2 latent_size=2,10,50 epochs=5 --out runs/sizes",
        "vaeflow sweep mnist-mlp-20 seed=0..9 --out runs/seeds --slurm > sweep.sbatch",
        "vaeflow sweep mnist-mlp-20 learning_rate=1e-4..1e-2:log latent_size=2..50 --search optuna --trials 20 "
        "--out runs/search",
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
@click.option("--search", type=click.Choice(["optuna"]), help="Search ranges such as learning_rate=1e-4..1e-2:log.")
@click.option("--trials", type=click.IntRange(min=1), help="Runs of a search in all. Example: --trials 20")
@click.option(
    "--metric",
    metavar="NAME",
    help="What a search makes as large as possible; default: validation/elbo. "
    "Example: --metric validation/log_likelihood",
)
@click.option("--minimize", is_flag=True, help="Make the metric of a search as small as possible.")
@click.option("--search-seed", type=click.IntRange(min=0), help="Seed of a search's proposals; default: 0.")
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
    search: str | None,
    trials: int | None,
    metric: str | None,
    minimize: bool,
    search_seed: int | None,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Train every combination of settings, and compare the runs.

    The VALUE of a setting is a list (latent_size=2,10,50) or a range (seed=0..2); other settings are the same for all
    runs. The runs' directories and their output are in the folder --out. The same command resumes an interrupted
    sweep; runs that have finished are not repeated.

    With --search optuna, the VALUE of a setting may be a range of numbers (1e-4..1e-2, 1e-4..1e-2:log, 2..50), and the
    runs are trials whose settings Optuna proposes.
    """
    require_alone("sweep")
    from vaeflow.commands.sweep import Sweep, jobs_that_fit, slurm_array
    from vaeflow.commands.sweep_queue import Grid
    from vaeflow.commands.sweep_run import run_sweep
    from vaeflow.distributed.launching.train_command import plugin_options

    options = (*plugin_options(modules), *([f"--data-dir={data_dir}"] if data_dir else []))
    if search is not None:
        _require_search_options(trials, only=only, slurm=slurm, dry_run=dry_run)
        wanted = {"metric": metric or "validation/elbo", "minimize": minimize, "seed": search_seed or 0}
        _search(Sweep(recipe, settings, out, options, modules, wanted), trials or 0, jobs)
        return
    if trials is not None or metric is not None or minimize or search_seed is not None:
        raise UsageError("--trials, --metric, --minimize and --search-seed are for --search optuna, which is not given")
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
    run_sweep(grid, Grid(chosen), jobs or jobs_that_fit(threads))
    if len(chosen) > 1:
        _compare([point.run_dir for point in points])


def _require_search_options(trials: int | None, *, only: int | None, slurm: bool, dry_run: bool) -> None:
    """Check the options of a search.

    Raises:
        UsageError: if the number of trials is missing, or options of a grid are given.
    """
    if trials is None:
        raise UsageError("--search optuna needs --trials, the number of runs")
    if only is not None or slurm or dry_run:
        raise UsageError("--only, --slurm and --dry-run are for grids: the trials of a search depend on each other")


def _search(sweep: Sweep, trials: int, jobs: int | None) -> None:
    """Search, compare the runs and print the best trial."""
    from vaeflow.commands.search import Search, ends_of, require_optuna
    from vaeflow.commands.sweep import jobs_that_fit
    from vaeflow.commands.sweep_run import run_sweep

    require_optuna()
    threads = sweep.check(ends_of(sweep))
    queue = Search(sweep, trials=trials, **sweep.search)
    run_sweep(sweep, queue, jobs or jobs_that_fit(threads))
    result = queue.result()
    ended = [one for one in result["trials"] if one["value"] is not None]
    if len(ended) > 1:
        _compare([sweep.out / f"trial-{one['number']:04d}" for one in ended])
    if ended:
        best = result["trials"][result["best"]]
        settings = " ".join(f"{key}={value}" for key, value in best["settings"].items())
        click.echo(
            f"best of {len(ended)}: trial-{best['number']:04d}, {result['metric']} {best['value']:.4f}, {settings}"
        )


def _compare(runs: list[Path]) -> None:
    from vaeflow.cli.compare import lines_of
    from vaeflow.commands.compare import compare

    click.echo("\n".join(lines_of(compare(runs))))

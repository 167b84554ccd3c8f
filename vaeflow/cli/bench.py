"""`vaeflow bench`: how fast a recipe trains on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vaeflow.cli.completion import complete_recipe
from vaeflow.cli.shared import (
    data_dir_option,
    examples,
    folders,
    plugin_option,
    require_alone,
    settings_argument,
    strategy_option,
    with_short_options,
)
from vaeflow.distributed.job.job import Job
from vaeflow.errors import UsageError
from vaeflow.files.write import write_text


@click.command(
    epilog=examples(
        "vaeflow bench mnist-2d",
        "vaeflow bench burda-1 threads=2 --rounds 9",
        "vaeflow bench mnist-2d threads=1 --replicas 1,2 --json bench.json",
        "horovodrun -np 2 vaeflow bench mnist-2d threads=1",
    )
)
@click.argument("recipe", shell_complete=complete_recipe)
@settings_argument
@strategy_option
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often all is measured.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=40, show_default=True, help="Steps of each measurement: see spread."
)
@click.option(
    "--replicas",
    metavar="N,N...",
    help="Compare numbers of replicas under the strategy mirrored, each in a process of its own. Example: 1,2,4",
)
@click.option(
    "--json", "json_", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures. Example: bench.json"
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a profile of one more round, for TensorBoard. Example: runs/profile",
)
@plugin_option
@data_dir_option
def bench(
    *,
    recipe: str,
    settings: tuple[str, ...],
    strategy: str | None,
    rounds: int,
    steps: int,
    replicas: str | None,
    json_: Path | None,
    profile: Path | None,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Measure how fast a recipe trains: examples per second, the parts of a step, memory and arithmetic.

    Nothing is trained or kept. The parts are measured in turn, each together with those before it: input, forward,
    backward, exchange (the sum over microbatches and replicas), update. Run it on a quiet machine.
    """
    wanted = with_short_options(settings, strategy)
    if json_ is not None and json_.exists():
        raise UsageError(f"--json {json_} exists; choose a new file")
    if replicas is not None:
        require_alone("bench --replicas")
        if profile is not None:
            raise UsageError("--profile profiles one number of replicas: leave out --replicas")
        from vaeflow.commands.bench_replicas import compare_replicas, numbers_of
        from vaeflow.distributed.launching.train_command import plugin_options

        options = [*plugin_options(modules), *([f"--data-dir={data_dir}"] if data_dir else [])]
        words = [recipe, *wanted, f"--rounds={rounds}", f"--steps={steps}", *options]
        compared = compare_replicas(words, numbers_of(replicas))
        _write(json_, compared.records)
        click.echo("\n".join(compared.lines()))
        return
    from vaeflow.config.compose import compose
    from vaeflow.config.resolve import resolve
    from vaeflow.plugins.registry import Registry

    registry = Registry.load(modules)
    resolved = resolve(compose(recipe, wanted, registry.recipe), registry)
    from vaeflow.commands.bench import bench as measure

    measured = measure(resolved, folders(data_dir), rounds=rounds, steps=steps, profile=profile)
    if Job.current().rank == 0:
        _write(json_, measured.record())
        click.echo("\n".join(measured.lines()))


def _write(path: Path | None, record: object) -> None:
    if path is not None:
        write_text(path, json.dumps(record, indent=2) + "\n")

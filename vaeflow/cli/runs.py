"""Commands on the directory of a run: `vaeflow evaluate`, `sample` and `plot`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vaeflow.cli.shared import (
    accept_option,
    best_option,
    data_dir_option,
    folders,
    plugin_option,
    require_alone,
    require_run,
    run_argument,
    strategy_option,
)
from vaeflow.distributed.job.job import Job
from vaeflow.errors import UsageError
from vaeflow.plots import FORMATS
from vaeflow.runtime.memory import parse_bytes


@click.command()
@run_argument
@click.argument("settings", nargs=-1, metavar="[strategy.KEY=VALUE]...")
@strategy_option
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Split to evaluate. Example: --split validation",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Samples of z per example; default: as in the run's config. Example: --samples 100",
)
@click.option(
    "--importance-samples",
    type=click.IntRange(min=1),
    help="Also estimate the log-likelihood by importance sampling, with so many samples per example. "
    "Example: --importance-samples 5000",
)
@click.option(
    "--annealing-steps",
    type=click.IntRange(min=1),
    help="Estimate the log-likelihood by annealed importance sampling: chains of so many steps, as many per example as "
    "--importance-samples says. Example: --importance-samples 16 --annealing-steps 500",
)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Metric beside those of the run's config, or a table with its options; may be repeated. "
    "Examples: --metric mutual-information, --metric '{name=\"calibration\", draws=199}'",
)
@click.option(
    "--features",
    metavar="NETWORK",
    help="Feature network for --metric precision-recall: a .keras file or an importable module:function; default: the "
    "run's own encoder. Example: --features classifier.keras",
)
@click.option("--table", is_flag=True, help="Print a table instead of JSON.")
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory for the importance samples; default: what is available. Example: --memory 4GiB",
)
@best_option
@accept_option
@plugin_option
@data_dir_option
def evaluate(
    *,
    run: Path,
    settings: tuple[str, ...],
    strategy: str | None,
    split: str,
    samples: int | None,
    importance_samples: int | None,
    annealing_steps: int | None,
    metrics: tuple[str, ...],
    features: str | None,
    table: bool,
    memory: str | None,
    best: bool,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Evaluate the model of a run on one split of its data set.

    Prints ELBO, log-likelihood and KL divergence in nats per example, and other metrics, as JSON. RUN is the directory
    of the run. The evaluation runs on one device, unless --strategy names another strategy or a launcher started
    several processes.

    With --importance-samples, `nll` is the mean of -log p(x), with its standard error over examples and the Monte Carlo
    error of the estimate. An interrupted estimate resumes when the command is repeated.

    Example: vaeflow evaluate runs/mnist-2d --split test --importance-samples 5000
    """
    budget = None if memory is None else parse_bytes("--memory", memory)
    if budget is not None and importance_samples is None:
        raise UsageError("--memory is for --importance-samples, which is not given")
    if annealing_steps is not None and importance_samples is None:
        raise UsageError("--annealing-steps needs --importance-samples, the number of chains per example")
    processes = Job.current().processes
    if processes == 1:  # otherwise the other ranks are notified
        require_run(run)
    from vaeflow.training.evaluate import evaluate_run
    from vaeflow.training.evaluation_request import EvaluationRequest

    result = evaluate_run(
        run,
        folders(data_dir),
        EvaluationRequest(
            split, samples, best, importance_samples, annealing_steps or 0, budget, metrics, features or None
        ),
        modules=modules,
        settings=[f"strategy={strategy or ('single' if processes == 1 else 'auto')}", *settings],
        accept_changes=accept_changes,
    )
    if result is not None:
        click.echo(_table_of(result) if table else json.dumps(result, indent=2))


def _table_of(result: dict[str, Any]) -> str:
    """Return the metrics of an evaluation as a table, a line each."""
    values = {name: f"{value:,.4f}" for name, value in result["metrics"].items()}
    first, last = max(map(len, values)), max(map(len, values.values()))
    about = f"{result['dataset']}, {result['split']} split, {result['examples']:,} examples"
    return "\n".join([about, *(f"{name:<{first}}  {value:>{last}}" for name, value in values.items())])


@click.command()
@run_argument
@click.option("--count", type=click.IntRange(min=1), default=64, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--label",
    type=click.IntRange(min=0),
    help="Class of all samples, of a conditional model; default: all classes in turn. Example: --label 3",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0.0),
    default=1.0,
    show_default=True,
    help="Factor of the prior's noise; less than 1 gives more typical samples. Example: --temperature 0.7",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Output file, .png, .pdf or .npy; default: samples-SEED.npy in RUN. Example: --out samples.png",
)
@best_option
@accept_option
@plugin_option
@data_dir_option
def sample(
    *,
    run: Path,
    count: int,
    seed: int,
    label: int | None,
    temperature: float,
    out: Path | None,
    best: bool,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Generate new examples from the model of a run.

    RUN is the directory of the run. The same seed gives the same samples.

    Example: vaeflow sample runs/mnist-2d --count 100 --out samples.png
    """
    require_alone("sample")
    require_run(run)
    from vaeflow.commands.sample import sample_run

    click.echo(
        str(
            sample_run(
                run,
                count=count,
                seed=seed,
                label=label,
                temperature=temperature,
                out=out,
                best=best,
                modules=modules,
                data_dir=data_dir,
                accept_changes=accept_changes,
            )
        )
    )


@click.command()
@run_argument
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="Format of the files; default: as in the run's config. May be repeated. Example: --format pdf",
)
@accept_option
@plugin_option
@data_dir_option
def plot(
    run: Path, formats: tuple[str, ...], accept_changes: bool, modules: tuple[str, ...], data_dir: Path | None
) -> None:
    """Draw the plots of a run again, from its newest checkpoint.

    RUN is the directory of the run; the PNG or PDF files are written there.

    Example: vaeflow plot runs/mnist-2d --format pdf
    """
    require_alone("plot")
    require_run(run)
    from vaeflow.commands.plot import plot_run

    for path in plot_run(run, formats=formats, modules=modules, data_dir=data_dir, accept_changes=accept_changes):
        click.echo(str(path))

"""`vaeflow compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeflow.cli.completion import complete_run
from vaeflow.cli.shared import examples, require_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.commands.compare import Comparison, Group, Statistic


@click.command(
    epilog=examples(
        "vaeflow compare runs/mnist-2d runs/mnist-2d-2",
        "vaeflow compare runs/sweep --metric test/nll --out curves.png",
    )
)
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...", shell_complete=complete_run
)
@click.option("--metric", "metrics", multiple=True, help="Metric to show; may be repeated. Example: --metric test/nll")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also draw the ELBO over training into this file. Example: --out curves.png",
)
def compare(*, runs: tuple[Path, ...], metrics: tuple[str, ...], as_json: bool, out: Path | None) -> None:
    """Compare runs: a table of metrics, and what differs in config, code and environment.

    RUN is the directory of a run, or a folder of such directories. Runs that differ in the seed alone are one row, with
    the mean and its standard error. Runs on different data or binarizations are not compared.
    """
    require_alone("compare")
    from vaeflow.commands.compare import compare as compare_runs

    found = compare_runs(runs, metrics)
    if out is not None:
        from vaeflow.commands.compare_plot import draw_comparison

        draw_comparison(found, out)
    click.echo(json.dumps(tree_of(found), indent=2) if as_json else "\n".join(lines_of(found)))


def tree_of(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    return {
        "groups": [
            {
                "settings": dict(group.settings),
                "runs": [str(run.directory.path) for run in group.runs],
                "seeds": [run.record.config.get("seed") for run in group.runs],
                "finished": [run.finished for run in group.runs],
                "metrics": {
                    name: {"mean": one.mean, "standard_error": one.error, "values": list(one.values)}
                    for name, one in group.metrics.items()
                },
            }
            for group in found.groups
        ],
        "differences": [{"part": one.part, "key": one.key, "values": list(one.values)} for one in found.differences],
    }


def lines_of(found: Comparison) -> list[str]:
    """Return a comparison as lines of text: the table, unfinished runs, and the other differences."""
    head = ["", "runs", *found.metrics]
    rows = [head, *([name_of(group), str(len(group.runs)), *cells(found, group)] for group in found.groups)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [_aligned(row, widths) for row in rows]
    for group in found.groups:
        lines += [f"{run.directory.path} has not finished: step {run.step}" for run in group.runs if not run.finished]
        lines += [f"{run.directory.path} is not counted: another run has its seed" for run in group.repeated]
    if found.differences:
        lines += ["", "The runs also differ in:"]
        lines += [f"  {one.name}: {', '.join(_distinct(one.values))}" for one in found.differences]
    return lines


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()


def name_of(group: Group) -> str:
    """Return what distinguishes a group, `latent_size=2 objective=iwae`, or the name of its first run."""
    if not group.settings:
        return str(group.runs[0].record.config.get("name", group.runs[0].directory.path.name))
    return " ".join(f"{key.removesuffix('.name')}={_text(value)}" for key, value in group.settings.items())


def cells(found: Comparison, group: Group) -> Sequence[str]:
    """Return the metrics of a group as `-84.21 ± 0.12`."""
    return [_cell(group.metrics.get(name)) for name in found.metrics]


def _cell(one: Statistic | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.2f}" + ("" if one.error is None else f" ± {one.error:.2f}")


def _distinct(values: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(_text(value) for value in values))


def _text(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)

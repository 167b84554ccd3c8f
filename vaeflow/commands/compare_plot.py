"""Draw the ELBO of several runs over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.callbacks.progress import SPLITS
from vaeflow.commands.out import require_new
from vaeflow.errors import UsageError
from vaeflow.plots import FORMATS, curves, style
from vaeflow.plots.palette import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.commands.compare import Comparison


def draw_comparison(found: Comparison, out: Path) -> None:
    """Draw a line per run, one colour per group, of the first split whose ELBO all runs have.

    Args:
        found: the comparison.
        out: a PNG or PDF file that does not exist.

    Raises:
        UsageError: if the file exists, has another suffix or no directory, or no split is in the logs of all runs.
    """
    require_new(out, tuple(f".{one}" for one in FORMATS))
    lines = [
        (number, {curve.name: curve for curve in curves.read(run.directory.metrics)})
        for number, group in enumerate(found.groups)
        for run in group.runs
    ]
    split = next((one for one in SPLITS if all(one in own for _, own in lines)), None)
    if split is None:
        raise UsageError("--out: the runs have no ELBO of the same split to draw")
    figure = style.new_figure(6.6, 4.4)
    axes = curves.panel(figure, f"ELBO (evidence lower bound), {split}")
    named: set[int] = set()
    for number, own in lines:
        label = None if number in named else _label(found, number)
        named.add(number)
        colour = CLASSES[number % len(CLASSES)]
        axes.plot(own[split].epochs, own[split].values, label=label, **style.LINE | {"color": colour, "linewidth": 1.2})
    style.add_legend(axes)
    style.save(figure, out)


def _label(found: Comparison, number: int) -> str:
    group = found.groups[number]
    settings = ", ".join(f"{key.removesuffix('.name')}={value}" for key, value in group.settings.items())
    return f"{settings or group.runs[0].directory.path.name} ({len(group.runs)})"

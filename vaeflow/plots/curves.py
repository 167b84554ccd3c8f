"""The ELBO and its two terms over training, and the divergence of each group of latents."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.files.json_lines import read_rows
from vaeflow.files.read import kind_of
from vaeflow.plots import style
from vaeflow.plots.palette import CLASSES, NUMBERS, SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TERMS = {"elbo": "ELBO (evidence lower bound)", "log_likelihood": "log-likelihood of x given z", "kl": "KL(q, p)"}
GROUP = "train/kl/"


@dataclass(frozen=True)
class Curve:
    """A quantity over training.

    Attributes:
        name: of the split, or of the group of latents.
        epochs: passes over the training examples, rising.
        values: nats per example.
    """

    name: str
    epochs: list[float]
    values: list[float]


def read(metrics: Path, term: str = "elbo") -> list[Curve]:
    """Return the curves of a run's metrics.jsonl: of training the mean of each epoch, of other splits each evaluation.

    Args:
        metrics: the file; a missing file has no curves, and invalid lines are skipped.
        term: elbo, log_likelihood or kl.

    Raises:
        FileError: if it is not a regular file.
        OSError: if it cannot be read.
    """
    rows = _rows(metrics)
    curves = [_epoch_means(rows, f"train/{term}", "train")]
    for split in ("validation", "test"):
        points = [(row["epoch"], row[f"{split}/{term}"]) for row in rows if _has(row, f"{split}/{term}")]
        curves.append(Curve(split, [epoch for epoch, _ in points], [value for _, value in points]))
    return [curve for curve in curves if curve.epochs]


def read_groups(metrics: Path) -> list[Curve]:
    """Return KL(q, p) of each group of latents, the mean of each epoch of training; empty with a single group.

    Args:
        metrics: as in `read`.
    """
    rows = _rows(metrics)
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(GROUP))
    curves = [_epoch_means(rows, key, key.removeprefix(GROUP)) for key in keys]
    return [curve for curve in curves if curve.epochs]


def draw(metrics: Path, *, caption: str = "") -> Figure | None:
    """Return the ELBO, the log-likelihood and the divergence by epoch; the divergence by group if there are several.

    Args:
        metrics: as in `read`.
        caption: one small line below the plot.

    Returns:
        The figure, or None if the file has no ELBO.
    """
    panels = {title: found for term, title in TERMS.items() if (found := read(metrics, term))}
    if TERMS["elbo"] not in panels:
        return None
    groups = read_groups(metrics)
    columns = 2 if groups else len(panels)
    rows = -(-(len(panels) + bool(groups)) // columns)
    figure = style.new_figure(max(3.4 * columns, 5.0), 3.2 * rows, caption=caption)
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = panel(figure, title, (rows, columns, number))
        for curve in curves:
            _line(axes, curve, "train, mean of the epoch" if curve.name == "train" else curve.name, SPLITS[curve.name])
        style.add_legend(axes)
    if groups:
        _draw_groups(panel(figure, "KL(q, p) by group of latents, train", (rows, columns, len(panels) + 1)), groups)
    return figure


def _draw_groups(axes: Axes, groups: Sequence[Curve]) -> None:
    """Draw a line for each group: the palette's colours for up to ten, else viridis, since groups have an order."""
    import matplotlib as mpl

    scale = mpl.colormaps[NUMBERS].resampled(max(2, len(groups)))
    few = len(groups) <= len(CLASSES)
    for number, curve in enumerate(groups):
        _line(axes, curve, curve.name, CLASSES[number] if few else scale(number))
    style.add_legend(axes, ncols=-(-len(groups) // 8), loc="center left", bbox_to_anchor=(1.0, 0.5))


def panel(figure: Figure, title: str, place: tuple[int, int, int] | None = None) -> Axes:
    """Return axes of nats per example by epoch; for the arguments see `style.add_axes`."""
    from matplotlib.ticker import MaxNLocator

    axes = style.add_axes(figure, title, place)
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats per example")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    return axes


def _line(axes: Axes, curve: Curve, name: str, colour: Any) -> None:
    axes.plot(curve.epochs, curve.values, label=f"{name}: {style.number(curve.values[-1])}", color=colour, **style.LINE)


def _rows(metrics: Path) -> list[dict[str, Any]]:
    return [] if kind_of(metrics) is None else [row for _, row in read_rows(metrics) if row is not None]


def _epoch_means(rows: list[dict[str, Any]], key: str, name: str) -> Curve:
    """Return the mean of each epoch of training; a row has the mean of the steps since the previous row."""
    sums: dict[int, float] = defaultdict(float)
    steps: dict[int, int] = defaultdict(int)
    ends: dict[int, float] = {}
    before = 0
    for row in (row for row in rows if key in row):
        epoch = math.ceil(row["epoch"])
        if _has(row, key):
            sums[epoch] += row[key] * (row["step"] - before)
            steps[epoch] += row["step"] - before
            ends[epoch] = row["epoch"]
        before = row["step"]
    return Curve(name, [ends[e] for e in ends], [sums[e] / steps[e] for e in ends])


def _has(row: dict[str, Any], name: str) -> bool:
    return row.get(name) is not None  # null is NaN or infinity

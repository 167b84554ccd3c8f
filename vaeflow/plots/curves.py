"""The ELBO over training, and the divergence of each group of latents."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.files.json_lines import read_rows
from vaeflow.files.read import kind_of
from vaeflow.plots import style

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP = "train/kl/"
COLOURS = {"train": "#31688e", "validation": "#35b779", "test": "#d1495b"}


@dataclass(frozen=True)
class Curve:
    """The ELBO of one split.

    Attributes:
        split: its name.
        epochs: passes over the training examples, rising.
        elbos: nats per example.
    """

    split: str
    epochs: list[float]
    elbos: list[float]


def read(metrics: Path) -> list[Curve]:
    """Return the curves of a run's metrics.jsonl: of training the mean of each epoch, of other splits each evaluation.

    Args:
        metrics: the file; a missing file has no curves, and invalid lines are skipped.

    Raises:
        FileError: if it is not a regular file.
        OSError: if it cannot be read.
    """
    if kind_of(metrics) is None:
        return []
    rows = [row for _, row in read_rows(metrics) if row is not None]
    curves = [_epoch_means(rows)]
    for split in ("validation", "test"):
        points = [(row["epoch"], row[f"{split}/elbo"]) for row in rows if _has(row, f"{split}/elbo")]
        curves.append(Curve(split, [epoch for epoch, _ in points], [elbo for _, elbo in points]))
    return [curve for curve in curves if curve.epochs]


def read_groups(metrics: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return epochs and KL(q, p) of each group of latents, of the training split; empty with a single group.

    Args:
        metrics: as in `read`.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    for _, row in read_rows(metrics) if kind_of(metrics) is not None else ():
        for key in row or ():
            if key.startswith(GROUP) and row is not None and _has(row, key):
                epochs, nats = found.setdefault(key.removeprefix(GROUP), ([], []))
                epochs.append(row["epoch"])
                nats.append(row[key])
    return found


def draw(
    curves: Iterable[Curve],
    groups: Mapping[str, tuple[list[float], list[float]]] | None = None,
    *,
    caption: str = "",
) -> Figure:
    """Return the ELBO by epoch as a figure; below it, if there are several groups of latents, their divergence.

    Args:
        curves: one per split.
        groups: see `read_groups`.
        caption: one small line below the plot.
    """
    figure = style.new_figure(7.4, 8.4 if groups else 4.8, caption=caption)
    axes = style.add_axes(figure, "ELBO (evidence lower bound)", (2, 1, 1) if groups else None)
    for curve in curves:
        name = "train, mean of the epoch" if curve.split == "train" else curve.split
        label = f"{name} (last {curve.elbos[-1]:.2f})"
        axes.plot(curve.epochs, curve.elbos, marker="o", markersize=3.5, label=label, color=COLOURS[curve.split])
    _finish(axes, "lower right")
    if groups:
        axes = style.add_axes(figure, "KL(q, p) of each group of latents, training", (2, 1, 2))
        for name, (epochs, nats) in groups.items():
            axes.plot(epochs, nats, marker="o", markersize=3.5, label=f"{name} (last {nats[-1]:.2f})")
        _finish(axes, "best")
    return figure


def _finish(axes: Axes, place: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_ylabel("nats per example")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc=place, fontsize=9)


def _epoch_means(rows: list[dict[str, Any]]) -> Curve:
    """Return the mean training ELBO of each epoch; a row has the mean of the steps since the previous row."""
    sums: dict[int, float] = defaultdict(float)
    steps: dict[int, int] = defaultdict(int)
    ends: dict[int, float] = {}
    before = 0
    for row in (row for row in rows if "train/elbo" in row):
        epoch = math.ceil(row["epoch"])
        if _has(row, "train/elbo"):
            sums[epoch] += row["train/elbo"] * (row["step"] - before)
            steps[epoch] += row["step"] - before
            ends[epoch] = row["epoch"]
        before = row["step"]
    return Curve("train", [ends[e] for e in ends], [sums[e] / steps[e] for e in ends])


def _has(row: dict[str, Any], name: str) -> bool:
    return row.get(name) is not None  # null is NaN or infinity

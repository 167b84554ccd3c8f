"""Scatter plots of latent means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.plots import style
from vaeflow.plots.palette import CLASSES, GREY, NUMBERS, PLAIN, SHAPES, are_classes, mark_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

MOST_GROUPS = 6
"""The groups that are shown, from the top down."""

CELLS, APART = 24, 3
"""Cells in a row of the grid on which the places of classes' labels are found, and between two of them."""


def leading_dimensions(means: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the latent dimensions whose means vary most, the first one first.

    Args:
        means: [N, D].
        count: how many, at most D.

    >>> leading_dimensions(np.array([[0.0, 5.0, 1.0], [0.0, -5.0, 2.0]]), 2).tolist()
    [1, 2]
    """
    return np.argsort(-means.var(axis=0), kind="stable")[:count]


def places_of(points: np.ndarray, classes: np.ndarray) -> dict[int, np.ndarray]:
    """Return a place for the label of each class, [2]: where most points are of this class, and few of others.

    Two places are apart, so that the labels don't cover each other. Small classes without such a place have none.

    Args:
        points: [N, 2].
        classes: [N], the number of the class of each point.

    >>> points = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0]])
    >>> {n: place.tolist() for n, place in places_of(points, np.array([3, 3, 8])).items()}
    {3: [0.05, 0.0], 8: [5.0, 5.0]}
    """
    low, side = points.min(axis=0), max(float(np.ptp(points, axis=0).max()), 1e-12)  # one scale, as on the axes
    cells = np.minimum((points - low) / side * CELLS, CELLS - 1).astype(int)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number in sorted(set(classes.tolist()), key=lambda n: (-np.count_nonzero(classes == n), n)):
        mine = classes == number
        score = _around(cells[mine]) ** 2 / np.maximum(_around(cells), 1.0)  # count times share
        free = [
            cell
            for cell in np.unique(cells[mine], axis=0)
            if all(np.abs(cell - other).max() >= APART for other, _ in found.values())
        ]
        if free:
            best = max(free, key=lambda cell: float(score[tuple(cell)]))
            near = mine & (np.abs(cells - best).max(axis=1) <= 1)
            found[number] = best, points[near].mean(axis=0)
    return {number: place for number, (_, place) in sorted(found.items())}


def _around(cells: np.ndarray) -> np.ndarray:
    """Return how many points are in each cell and its eight neighbours, [CELLS, CELLS]."""
    count = np.zeros((CELLS + 2, CELLS + 2))
    np.add.at(count, tuple(cells.T + 1), 1.0)
    return np.asarray(sum(count[i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3)))


def draw(trained: TrainedVAE, examples: Examples, *, caption: str = "") -> Figure:
    """Return a scatter plot of the posterior's means, coloured by label, as in the article.

    With more than two latent dimensions it shows the two whose means vary most; with one, means by example number. Both
    axes have the same scale. If there are several groups of latents, each has a plot.

    Args:
        trained: the model.
        examples: the examples to encode.
        caption: one small line below the plot.
    """
    groups = list(examples.means(trained).items())[:MOST_GROUPS]
    rows = -(-len(groups) // 2)
    size = (6.6, 6.0) if len(groups) == 1 else (9.0, 4.4 * rows)
    figure = style.new_figure(*size, caption=caption)
    for number, (name, means) in enumerate(groups, start=1):
        title = f"Posterior means of {len(means)} {examples.split} examples"
        if len(groups) == 1:
            axes = style.add_axes(figure, _title(title, means))
        else:
            axes = style.add_axes(figure, _title(name, means), (rows, 2, number))
        _draw_group(axes, means, "$z_{{{}}}$" if len(groups) == 1 else f"{name} {{}}")
        _scatter(figure, axes, _plane(means), examples.y, last=number == min(2, len(groups)))
    if len(groups) > 1:
        figure.suptitle(title, fontsize=style.TITLE)
    return figure


def _title(title: str, means: np.ndarray) -> str:
    flat = means.reshape((len(means), -1))
    if flat.shape[1] <= 2:
        return title
    first, second = leading_dimensions(flat, 2)
    return f"{title}\nthe two of {flat.shape[1]} dimensions that vary most: {first} and {second}"


def _plane(means: np.ndarray) -> np.ndarray:
    """Return what is drawn to the right and upward, [N, 2]."""
    flat = means.reshape((len(means), -1))
    if flat.shape[1] == 1:
        return np.stack([flat[:, 0], np.arange(len(flat))], axis=1)
    return flat[:, leading_dimensions(flat, 2)] if flat.shape[1] > 2 else flat


def _draw_group(axes: Axes, means: np.ndarray, symbol: str) -> None:
    flat = means.reshape((len(means), -1))
    shown = leading_dimensions(flat, 2) if flat.shape[1] > 2 else np.arange(flat.shape[1])
    axes.set_xlabel(symbol.format(shown[0]))
    axes.set_ylabel(symbol.format(shown[1]) if len(shown) == 2 else "example")
    if len(shown) == 2:
        axes.set_aspect("equal", adjustable="datalim")


def _scatter(figure: Figure, axes: Axes, points: np.ndarray, labels: np.ndarray | None, *, last: bool) -> None:
    """Draw points; the legend or the colour bar beside the last axes of the first row."""
    size = float(np.clip(30_000 / len(points), 3.0, 24.0))  # square points: ten thousand stay visible and separate
    style_of: dict[str, Any] = {"s": size, "linewidths": 0.0, "alpha": 0.8}
    if labels is None or labels.ndim != 1:
        axes.scatter(points[:, 0], points[:, 1], color=PLAIN, **style_of)
    elif are_classes(labels):
        _draw_classes(axes, points, labels, style_of)
        if last:
            _add_legend(axes, np.unique(labels))
    else:
        marks = axes.scatter(points[:, 0], points[:, 1], c=labels, cmap=NUMBERS, **style_of)
        if last:
            bar = figure.colorbar(marks, ax=axes)
            bar.ax.tick_params(labelsize=style.SMALL, color=GREY, labelcolor=GREY)
            bar.outline.set_visible(False)
            bar.set_label("label", fontsize=style.TEXT)


def _draw_classes(axes: Axes, points: np.ndarray, labels: np.ndarray, style_of: dict[str, Any]) -> None:
    """Draw points class by colour and shape; the number of the class stands where most of its points are."""
    names, number = np.unique(labels, return_inverse=True)
    colours = np.array([mark_of(n).colour for n in range(len(names))])
    for round_, shape in enumerate(SHAPES[: -(-len(names) // len(CLASSES))]):
        mine = number // len(CLASSES) == round_
        axes.scatter(points[mine, 0], points[mine, 1], c=list(colours[number[mine]]), marker=shape, **style_of)
    for n, place in places_of(points, number).items():
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colours[n], "linewidth": 1.5}
        axes.text(
            place[0],
            place[1],
            f"{names[n]:g}",
            ha="center",
            va="center",
            fontsize=style.SMALL,
            fontweight="bold",
            bbox=box,
        )


def _add_legend(axes: Axes, names: np.ndarray) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", color=mark_of(n).colour, marker=mark_of(n).shape, markersize=5, label=f"{name:g}")
        for n, name in enumerate(names)
    ]
    columns = -(-len(names) // 20)
    style.add_legend(axes, handles=handles, title="label", loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns)

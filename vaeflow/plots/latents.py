"""Scatter plots of latent means."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

MOST_LABELS = 40
"""With more labels than this, colours are not used."""

MOST_GROUPS = 6
"""The groups that are shown, from the top down."""


def leading_dimensions(means: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the latent dimensions whose means vary most, the first one first.

    Args:
        means: [N, D].
        count: how many, at most D.

    >>> leading_dimensions(np.array([[0.0, 5.0, 1.0], [0.0, -5.0, 2.0]]), 2).tolist()
    [1, 2]
    """
    return np.argsort(-means.var(axis=0), kind="stable")[:count]


def draw(trained: TrainedVAE, examples: Examples, *, caption: str = "") -> Figure:
    """Return a scatter plot of the posterior's means, coloured by label, as in the article.

    With more than two latent dimensions it shows the two whose means vary most; with one, means by example number. If
    there are several groups of latents, each has a plot.

    Args:
        trained: the model.
        examples: the examples to encode.
        caption: one small line below the plot.
    """
    groups = list(examples.means(trained).items())[:MOST_GROUPS]
    rows = -(-len(groups) // 2)
    size = (7.4, 6.4) if len(groups) == 1 else (13.0, 5.6 * rows)
    figure = style.new_figure(*size, caption=caption)
    for number, (name, means) in enumerate(groups, start=1):
        title = f"Posterior means of {len(means)} {examples.split} examples"
        if len(groups) == 1:
            axes = style.add_axes(figure, _title(title, means))
            _draw_group(figure, axes, means, examples.y, "$z_{{{}}}$")
        else:
            axes = style.add_axes(figure, _title(f"{name}: {title[0].lower()}{title[1:]}", means), (rows, 2, number))
            _draw_group(figure, axes, means, examples.y, f"{name} {{}}")
    return figure


def _title(title: str, means: np.ndarray) -> str:
    flat = means.reshape((len(means), -1))
    if flat.shape[1] <= 2:
        return title
    first, second = leading_dimensions(flat, 2)
    return f"{title}\nthe two of {flat.shape[1]} dimensions that vary most: {first} and {second}"


def _draw_group(figure: Figure, axes: Axes, means: np.ndarray, labels: np.ndarray | None, symbol: str) -> None:
    flat = means.reshape((len(means), -1))
    shown = leading_dimensions(flat, 2) if flat.shape[1] > 2 else np.arange(flat.shape[1])
    axes.set_xlabel(symbol.format(shown[0]))
    axes.set_ylabel(symbol.format(shown[1]) if len(shown) == 2 else "example")
    across = flat[:, shown[1]] if len(shown) == 2 else np.arange(len(flat))
    _scatter(figure, axes, flat[:, shown[0]], across, labels)


def _scatter(figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, labels: np.ndarray | None) -> None:
    size = float(np.clip(20_000 / len(x), 2.0, 30.0))  # square points: ten thousand marks stay visible and separate
    mark = partial(axes.scatter, x, y, s=size, marker="x", linewidths=0.6)
    if labels is None or labels.ndim != 1 or len(np.unique(labels)) > MOST_LABELS:
        mark(color="#31688e")
        return
    import matplotlib as mpl

    names, colour = np.unique(labels, return_inverse=True)
    colours = mpl.colormaps["viridis"].resampled(len(names))
    marks = mark(c=colour, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
    _colour_bar(figure, axes, marks, names)


def _colour_bar(figure: Figure, axes: Axes, marks: PathCollection, names: np.ndarray) -> None:
    bar = figure.colorbar(marks, ax=axes, ticks=range(len(names)))
    bar.ax.set_yticklabels([str(name) for name in names], fontsize=9)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.set_label("label", fontsize=9, color=style.GREY)

"""A scatter plot of latent means."""

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

    With more than two latent dimensions it shows the two whose means vary most; with one, means by example number.

    Args:
        trained: the model.
        examples: the examples to encode.
        caption: one small line below the plot.
    """
    means = trained.encode(examples.x)
    shown = leading_dimensions(means, 2) if trained.latent_size > 2 else np.arange(trained.latent_size)
    figure = style.new_figure(7.4, 6.4, caption=caption)
    title = f"Posterior means of {len(means)} {examples.split} examples"
    if trained.latent_size > 2:
        title += f"\nthe two of {trained.latent_size} dimensions that vary most: {shown[0]} and {shown[1]}"
    axes = style.add_axes(figure, title)
    axes.set_xlabel(f"$z_{{{shown[0]}}}$")
    axes.set_ylabel(f"$z_{{{shown[1]}}}$" if len(shown) == 2 else "example")
    across = means[:, shown[1]] if len(shown) == 2 else np.arange(len(means))
    _scatter(figure, axes, means[:, shown[0]], across, examples.y)
    return figure


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

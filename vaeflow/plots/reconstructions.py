"""Originals and their reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.plots import style
from vaeflow.plots.grid import tile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

COLUMNS, PAIRS, GAP = 10, 3, 2


def picture(trained: TrainedVAE, examples: Examples) -> np.ndarray:
    """Return rows of originals, each above a row of their reconstructions, as one image [H', W', C] in [0, 1].

    A reconstruction is the expected x given the posterior's mean. If there are labels, each has a column.

    Args:
        trained: the model.
        examples: up to 30 of them are shown.
    """
    index, labels = examples.spread_index(COLUMNS * PAIRS), examples.labels(trained)
    x = examples.x[index]
    both = (x, trained.reconstruct(x, labels=None if labels is None else labels[index]))
    rows = [part[first : first + COLUMNS] for first in range(0, len(x), COLUMNS) for part in both]
    blank = np.ones((COLUMNS, *trained.x_shape), np.float32)
    return tile(np.concatenate([np.concatenate([row, blank[len(row) :]]) for row in rows]), COLUMNS, gap=GAP)


def draw(trained: TrainedVAE, examples: Examples, *, caption: str = "") -> Figure:
    """Return originals and reconstructions as a figure.

    Args:
        trained: a model of images.
        examples: up to 30 of them are shown.
        caption: one small line below the plot.
    """
    image = picture(trained, examples)
    figure = style.new_figure(7.0, 0.9 + 6.4 * image.shape[0] / image.shape[1], caption=caption)
    axes = style.add_axes(figure, f"{examples.split.capitalize()} examples, each above its reconstruction")
    style.show_image(axes, image)
    step = trained.x_shape[0] + GAP
    centres = np.arange(trained.x_shape[0] / 2 - 0.5, image.shape[0], step)
    axes.set_yticks(centres, [("x", "x\N{COMBINING CIRCUMFLEX ACCENT}")[i % 2] for i in range(len(centres))])
    axes.tick_params(length=0)
    return figure

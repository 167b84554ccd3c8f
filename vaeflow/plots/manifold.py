"""Decoded images over a two-dimensional latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.plots import style
from vaeflow.plots.grid import prior_quantiles, tile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE

SIDE = 20
"""Images in a row, as in the article."""


def fits(trained: TrainedVAE) -> bool:
    """Return whether the latents of a model are one plane, without labels."""
    return [group.shape for group in trained.latents] == [(2,)] and not trained.classes


def picture(trained: TrainedVAE, side: int = SIDE) -> np.ndarray:
    """Return expected images on a grid of the prior's quantiles 0.05 to 0.95, as one image.

    The first latent dimension rises to the right and the second upward, as in the scatter plot of latents. (In the
    article's picture the second one rises downward.) The quantiles are the standard normal's for any prior.

    Args:
        trained: a model with two latent dimensions and images as examples.
        side: images in a row and in a column.

    Returns:
        [side * H, side * W, C] in [0, 1].
    """
    second, first = np.meshgrid(prior_quantiles(side)[::-1], prior_quantiles(side), indexing="ij")
    return tile(trained.decode(np.stack([first.ravel(), second.ravel()], axis=1)), side)


def draw(trained: TrainedVAE, *, side: int = SIDE, caption: str = "") -> Figure:
    """Return the manifold as a figure with its latent coordinates at the edges.

    Args:
        trained: a model with two latent dimensions and images as examples.
        side: images in a row and in a column.
        caption: one small line below the plot.
    """
    figure = style.new_figure(7.6, 7.9, caption=caption)
    axes = style.add_axes(figure, "Expected x given z, at the prior's quantiles 0.05 to 0.95")
    style.show_image(axes, picture(trained, side))
    height, width = trained.x_shape[:2]
    centres, names = np.arange(side) + 0.5, [style.number(value) for value in prior_quantiles(side)]
    axes.set_xticks(centres * width - 0.5, names)
    axes.set_yticks(centres * height - 0.5, names[::-1])
    axes.tick_params(length=2, labelsize=style.SMALL - 1)
    axes.set_xlabel("$z_0$")
    axes.set_ylabel("$z_1$")
    return figure

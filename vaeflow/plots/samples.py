"""Images from the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.plots import style
from vaeflow.plots.grid import tile

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE

SIDE, GAP = 10, 2


def picture(trained: TrainedVAE, side: int = SIDE) -> np.ndarray:
    """Return side * side expected images of latents drawn from the prior with a fixed seed, as one image.

    Args:
        trained: a model of images.
        side: images in a row and in a column.

    Returns:
        [H', W', C] in [0, 1].
    """
    return tile(trained.sample(side * side), side, gap=GAP)


def draw(trained: TrainedVAE, *, side: int = SIDE, caption: str = "") -> Figure:
    """Return samples as a figure.

    Args:
        trained: a model of images.
        side: images in a row and in a column.
        caption: one small line below the plot.
    """
    figure = style.new_figure(7.0, 7.4, caption=caption)
    axes = style.add_axes(figure, "Expected x given z, for z drawn from the prior")
    style.show_image(axes, picture(trained, side))
    return figure

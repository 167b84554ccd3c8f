"""Images from the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.noise import Noise
from vaeflow.model.latents import generation_noise_size
from vaeflow.plots import style
from vaeflow.plots.grid import tile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE

SIDE, GAP = 10, 2


def picture(trained: TrainedVAE, side: int = SIDE) -> np.ndarray:
    """Return side * side expected images of latents drawn from the prior with a fixed seed, as one image.

    A conditional model has one row per class, with the same latents in all rows.

    Args:
        trained: a model of images.
        side: images in a row and in a column.

    Returns:
        [H', W', C] in [0, 1].
    """
    if not trained.classes:
        return tile(trained.sample(side * side), side, gap=GAP)
    rows = min(trained.classes, side)
    noise = np.tile(_noise(trained, side), (rows, 1))
    return tile(trained.generate(noise, labels=np.repeat(np.arange(rows), side)), side, gap=GAP)


def picture_by_group(trained: TrainedVAE, side: int = SIDE) -> np.ndarray:
    """Return one row per group of latents: this group is drawn again in each column, the others have the same noise.

    Args:
        trained: a model of images with several groups.
        side: images in a row; at most this many groups are shown, from the top down.

    Returns:
        [H', W', C] in [0, 1].
    """
    noise, first, rows = _noise(trained, side), 0, []
    for group in trained.latents[:side]:
        own = slice(first, first + group.generation_noise_size)
        row = np.repeat(noise[:1], side, axis=0)
        row[:, own] = noise[:, own]
        rows.append(row)
        first = own.stop
    labels = 0 if trained.classes else None
    return tile(trained.generate(np.concatenate(rows), labels=labels), side, gap=GAP)


def draw(trained: TrainedVAE, *, side: int = SIDE, caption: str = "") -> Figure:
    """Return samples as a figure; below them, if there are several groups of latents, a row for each.

    Args:
        trained: a model of images.
        side: images in a row and in a column.
        caption: one small line below the plot.
    """
    rows = min(trained.classes or side, side)
    classes = [f"label {number}" for number in range(rows)] if trained.classes else []
    groups = [group.name for group in trained.latents[:side]] if len(trained.latents) > 1 else []
    height = 7.4 if rows == side else 1.2 + 0.65 * rows
    figure = style.new_figure(
        7.6 if classes or groups else 7.0, height + (0.6 + 0.65 * len(groups) if groups else 0.0), caption=caption
    )
    places = figure.add_gridspec(2, 1, height_ratios=(rows, len(groups))) if groups else [None]
    axes = style.add_axes(figure, "Expected x given z, for z drawn from the prior", places[0])
    style.show_image(axes, picture(trained, side))
    style.name_rows(axes, classes, trained.x_shape[0], GAP)
    if groups:
        axes = style.add_axes(figure, "One group of latents drawn again in each row, the others fixed", places[1])
        style.show_image(axes, picture_by_group(trained, side))
        style.name_rows(axes, groups, trained.x_shape[0], GAP)
    return figure


def _noise(trained: TrainedVAE, count: int) -> np.ndarray:
    return np.asarray(Noise(0, "sample/z").normal(0, 0, count, generation_noise_size(trained.latents)))

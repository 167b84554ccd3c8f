"""The effect of each latent dimension on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.plots import style
from vaeflow.plots.grid import prior_quantiles, tile
from vaeflow.plots.latents import leading_dimensions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

COLUMNS, ROWS, GAP = 11, 10, 2


@dataclass(frozen=True)
class Traversal:
    """One example whose latents are changed one at a time.

    Attributes:
        dimensions: [R] the latent dimensions that are changed, one per row, those that vary most first.
        values: [S] the values of the changed dimension, one per column: the standard normal's quantiles 0.05 to 0.95.
        images: [R * S, *X] expected x, row after row.
    """

    dimensions: np.ndarray
    values: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, trained: TrainedVAE, examples: Examples, *, rows: int = ROWS, columns: int = COLUMNS) -> Traversal:
        """Return the traversal around the posterior's mean of the first example.

        Args:
            trained: the model.
            examples: their means determine the dimensions that vary most.
            rows: largest number of dimensions.
            columns: values per dimension.
        """
        means = trained.encode(examples.x)
        dimensions, values = leading_dimensions(means, rows), prior_quantiles(columns)
        z = np.tile(means[0], (len(dimensions), columns, 1))
        for row, dimension in enumerate(dimensions):
            z[row, :, dimension] = values
        return cls(dimensions, values, trained.decode(z.reshape((-1, trained.latent_size))))

    def picture(self) -> np.ndarray:
        """Return the images as one, [H', W', C] in [0, 1]."""
        return tile(self.images, len(self.values), gap=GAP)


def draw(trained: TrainedVAE, examples: Examples, *, caption: str = "") -> Figure:
    """Return a traversal as a figure.

    Args:
        trained: a model of images.
        examples: the first one is used.
        caption: one small line below the plot.
    """
    traversal = Traversal.of(trained, examples)
    image = traversal.picture()
    figure = style.new_figure(8.0, 1.4 + 7.0 * image.shape[0] / image.shape[1], caption=caption)
    axes = style.add_axes(figure, f"One {examples.split} example, one latent dimension changed in each row")
    style.show_image(axes, image)
    height, width = trained.x_shape[:2]
    centres_y = np.arange(len(traversal.dimensions)) * (height + GAP) + height / 2 - 0.5
    centres_x = np.arange(len(traversal.values)) * (width + GAP) + width / 2 - 0.5
    axes.set_yticks(centres_y, [f"$z_{{{d}}}$" for d in traversal.dimensions])
    axes.set_xticks(centres_x, [f"{value:z.2f}" for value in traversal.values])
    axes.tick_params(length=0, labelsize=8)
    return figure

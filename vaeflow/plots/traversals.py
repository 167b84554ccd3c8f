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
        groups: [R] the group of each row's dimension.
        dimensions: [R] the latent dimensions that are changed, one per row, by group those that vary most first.
        values: [S] the values of the changed dimension, one per column: the standard normal's quantiles 0.05 to 0.95.
        images: [R * S, *X] expected x, row after row.
    """

    groups: tuple[str, ...]
    dimensions: np.ndarray
    values: np.ndarray
    images: np.ndarray

    @classmethod
    def of(cls, trained: TrainedVAE, examples: Examples, *, rows: int = ROWS, columns: int = COLUMNS) -> Traversal:
        """Return the traversal around the posterior's mean of the first example.

        Args:
            trained: the model.
            examples: their means determine the dimensions that vary most.
            rows: largest number of dimensions, over all groups.
            columns: values per dimension.
        """
        means = {name: group.reshape((len(group), -1)) for name, group in examples.means(trained).items()}
        each = max(1, rows // len(means))
        shown = [(name, d) for name, group in means.items() for d in leading_dimensions(group, each)][:rows]
        values = prior_quantiles(columns)
        z = {name: np.tile(group[0], (len(shown), columns, 1)) for name, group in means.items()}
        for row, (name, dimension) in enumerate(shown):
            z[name][row, :, dimension] = values
        shaped = {group.name: z[group.name].reshape((-1, *group.shape)) for group in trained.latents}
        labels = examples.labels(trained)
        images = trained.decode(shaped, labels=None if labels is None else int(labels[0]))
        return cls(tuple(name for name, _ in shown), np.array([d for _, d in shown]), values, images)

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
    figure = style.new_figure(7.0, 1.1 + 6.2 * image.shape[0] / image.shape[1], caption=caption)
    axes = style.add_axes(figure, f"One {examples.split} example, one latent dimension changed in each row")
    style.show_image(axes, image)
    height, width = trained.x_shape[:2]
    centres_y = np.arange(len(traversal.dimensions)) * (height + GAP) + height / 2 - 0.5
    centres_x = np.arange(len(traversal.values)) * (width + GAP) + width / 2 - 0.5
    several = len(trained.latents) > 1
    rows = zip(traversal.groups, traversal.dimensions, strict=True)
    axes.set_yticks(centres_y, [f"{name} {d}" if several else f"$z_{{{d}}}$" for name, d in rows])
    axes.set_xticks(centres_x, [style.number(value) for value in traversal.values])
    axes.tick_params(length=0)
    return figure

"""The style of plots, and saving them. Uses Matplotlib's objects only, without pyplot and its global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.files.write import written_aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#666666"
DOTS_PER_INCH = 150
MARGIN = 0.1  # inches


def new_figure(width: float, height: float, *, caption: str = "") -> Figure:
    """Return an empty figure.

    Args:
        width: inches.
        height: inches.
        caption: one small line below the plot.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN))
    if caption:
        figure.supxlabel(caption, fontsize=8, color=GREY)
    return figure


def add_axes(figure: Figure, title: str, place: Any = None) -> Axes:
    """Return axes with a title and without the upper and the right line.

    Args:
        figure: where they are.
        title: above them.
        place: one of a grid's cells, or (rows, columns, number); None for a figure's only axes.
    """
    axes = figure.add_subplot(*(place if isinstance(place, tuple) else () if place is None else (place,)))
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=GREY, labelsize=9)
    return axes


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image [H, W, 1 or 3] with values in [0, 1], one square per pixel, without ticks."""
    if image.shape[-1] == 1:
        axes.imshow(image[:, :, 0], cmap="Greys_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    else:
        axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def name_rows(axes: Axes, names: Sequence[str], height: int, gap: int) -> None:
    """Write names beside rows of small images.

    Args:
        axes: show the images, see `vaeflow.plots.grid.tile`.
        names: of the rows; nothing is written if there are none.
        height: of one small image, in pixels.
        gap: between two of them.
    """
    if names:
        axes.set_yticks([row * (height + gap) + height / 2 - 0.5 for row in range(len(names))], names)
        axes.tick_params(length=0, labelsize=8)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG file atomically, and return its path.

    Raises:
        OSError: if writing fails; an earlier file of this name is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path

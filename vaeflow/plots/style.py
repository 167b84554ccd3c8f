"""The style of plots, and saving them. Uses Matplotlib's objects only, without pyplot and its global state.

Plots of plugins that use these functions look like the built-in ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.files.write import written_aside
from vaeflow.plots.palette import GREY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE, TEXT, SMALL = 10, 9, 7.5  # points
LINE: dict[str, Any] = {"linewidth": 1.5, "marker": "o", "markersize": 3.5}
MARGIN = 0.08  # inches
DOTS_PER_INCH = {"png": 150, "pdf": 300}  # of a PDF's images only


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
        figure.supxlabel(caption, fontsize=SMALL, color=GREY)
    return figure


def add_axes(figure: Figure, title: str, place: Any = None) -> Axes:
    """Return axes with a title and without the upper and the right line.

    Args:
        figure: where they are.
        title: above them.
        place: one of a grid's cells, or (rows, columns, number); None for a figure's only axes.
    """
    axes = figure.add_subplot(*(place if isinstance(place, tuple) else () if place is None else (place,)))
    axes.set_title(title, fontsize=TITLE, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=GREY, labelsize=SMALL)
    axes.xaxis.label.set_fontsize(TEXT)
    axes.yaxis.label.set_fontsize(TEXT)
    return axes


def number(value: float) -> str:
    """Return a number with two decimals, as ticks are written, with a minus sign instead of a hyphen."""
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")


def add_legend(axes: Axes, **options: Any) -> None:
    """Add a legend without a frame. `options` are those of `Axes.legend`."""
    axes.legend(**{"frameon": False, "fontsize": SMALL, "title_fontsize": SMALL, **options})


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image [H, W, 1 or 3] with values in [0, 1], without ticks."""
    # Enlarged by less than 3, pixels of equal size are drawn unequal without smoothing.
    if image.shape[-1] == 1:
        axes.imshow(image[:, :, 0], cmap="Greys_r", vmin=0.0, vmax=1.0, interpolation="antialiased")
    else:
        axes.imshow(image, interpolation="antialiased")
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
        axes.tick_params(length=0)


def no_origin(suffix: str) -> dict[str, Any]:
    """Return Matplotlib's `metadata` of a file without a date and a program's name, for the suffix .png or .pdf."""
    return dict.fromkeys(("Software",) if suffix == ".png" else ("CreationDate", "Creator", "Producer"))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically as PNG or PDF, by the suffix of the path, and return the path.

    The same figure gives the same bytes: the file has no date and no version of a program.

    Raises:
        OSError: if writing fails; an earlier file of this name is unchanged.
    """
    from matplotlib import rc_context

    kind = path.suffix.removeprefix(".")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, rc_context({"pdf.fonttype": 42}):  # journals refuse fonts of type 3
        figure.savefig(aside, format=kind, dpi=DOTS_PER_INCH[kind], metadata=no_origin(path.suffix))
    return path

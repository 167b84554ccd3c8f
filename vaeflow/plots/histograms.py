"""Histograms of an evaluation, each beside the density that is expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vaeflow.plots import style
from vaeflow.plots.palette import GREY, PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from vaeflow.contracts import Histogram

COLUMNS = 4
SIDE = (2.3, 1.8)  # inches


def draw(histograms: Sequence[Histogram], title: str) -> Figure:
    """Draw a small panel per histogram, at most four in a row.

    Args:
        histograms: at least one.
        title: one line.
    """
    columns = min(COLUMNS, len(histograms))
    rows = math.ceil(len(histograms) / columns)
    figure = style.new_figure(max(3.5, SIDE[0] * columns), SIDE[1] * rows + 0.5)
    figure.suptitle(title, fontsize=style.TITLE, x=0.01, ha="left")
    for number, one in enumerate(histograms, start=1):
        axes = style.add_axes(figure, one.title, (rows, columns, number))
        axes.stairs(one.density, one.edges, fill=True, color=PLAIN, alpha=0.6, label="found")
        if one.expected is not None:
            axes.stairs(one.expected, one.edges, color=GREY, linewidth=1.2, label="expected")
        axes.set_xlabel(one.axis)
        if number == 1:
            style.add_legend(axes)
    return figure

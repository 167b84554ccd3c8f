"""Colours of plots: categorical ones for classes and splits, viridis for numbers.

`CLASSES` are the ten colours of Petroff, "Accessible Color Sequences for Data Visualization" (arXiv:2107.02270, 2021),
which were optimized for people with and without colour-vision deficiencies. As they are seen with normal vision and
with three deficiencies (the simulation of Machado, Oliveira and Fernandes, 2009, at full severity), any two of them
differ by a CIE76 colour difference of 17 or more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLASSES = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
SHAPES = ("o", "^", "s", "D")
MOST_CLASSES = len(CLASSES) * len(SHAPES)
"""With more labels than this, labels are drawn as numbers."""

NUMBERS = "viridis"
PLAIN = CLASSES[0]
GREY = "#555555"
SPLITS = {"train": CLASSES[0], "validation": CLASSES[1], "test": CLASSES[2]}


class Mark(NamedTuple):
    """How the points of a class are drawn.

    Attributes:
        colour: as `#rrggbb`.
        shape: Matplotlib's name of the marker.
    """

    colour: str
    shape: str


def mark_of(number: int) -> Mark:
    """Return the mark of a class: ten colours, then the same colours with another shape, for 40 different marks.

    Args:
        number: of the class, from 0.

    >>> mark_of(0), mark_of(10)
    (Mark(colour='#3f90da', shape='o'), Mark(colour='#3f90da', shape='^'))
    """
    shape, colour = divmod(number, len(CLASSES))
    return Mark(CLASSES[colour], SHAPES[shape % len(SHAPES)])


def colours_of(labels: np.ndarray) -> np.ndarray:
    """Return the colour of each label, [N, 3] in [0, 1]: those of classes, or viridis for numbers.

    Args:
        labels: [N].

    >>> colours_of(np.array([7, 1, 7])).round(2).tolist()
    [[1.0, 0.66, 0.05], [0.25, 0.56, 0.85], [1.0, 0.66, 0.05]]
    """
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    different, index = np.unique(labels, return_inverse=True)
    if are_classes(labels):
        return np.array([to_rgb(mark_of(n).colour) for n in range(len(different))])[index]
    low, high = different.min(), different.max()
    return np.asarray(mpl.colormaps[NUMBERS]((labels - low) / max(high - low, 1e-12)))[:, :3]


def are_classes(labels: np.ndarray) -> bool:
    """Return whether labels, [N], are classes: whole numbers, and at most 40 different ones. Others are numbers.

    >>> are_classes(np.array([7, 1, 7])), are_classes(np.array([0.5, 1.0]))
    (True, False)
    """
    different = np.unique(labels)
    return len(different) <= MOST_CLASSES and bool(np.all(different == np.round(different)))

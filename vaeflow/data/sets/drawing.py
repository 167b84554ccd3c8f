"""Outlines, coverage and colours of the data set `shapes`.

An outline takes coordinates u (to the right) and v (down) in units of the radius of the circle around the shape, of any
common shape and type, and returns the distance to the outline in these units: negative inside, about the distance near
the outline. Only operations that IEEE 754 rounds in one way are used, one at a time.

Legend: N examples, P pixels of a side of the part of a picture that is drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

HALF_DIAGONAL = math.sqrt(0.5)
SLIM = 0.5  # the ellipse's short half axis
TINY = 1e-6  # keeps the ellipse's centre from 0 / 0
LOBE = (
    math.sqrt(2.0) / 4.0
)  # radius of the heart's two circles, where its lower end is at (0, 0) and its notch at (0, 1)
HEART = 0.5 / (1.5 - HALF_DIAGONAL)  # radius of the circle around that heart


def square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the distance to a square with its corners on the circle; its edges are upright.

    >>> square(np.array([0.0, 1.0]), np.array([0.0, 0.0])).round(3).tolist()
    [-0.707, 0.293]
    """
    return np.maximum(np.abs(u), np.abs(v)) - HALF_DIAGONAL


def ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return about the distance to an ellipse with half axes 1, along u, and 0.5; it is exact on the axes.

    >>> ellipse(np.array([0.0, 1.5, 0.0]), np.array([0.0, 0.0, 0.75])).round(3).tolist()
    [-1.0, 0.5, 0.25]
    """
    across, along = u * u, v * (1.0 / SLIM)
    level = np.sqrt(across + along * along)
    steep = along * (1.0 / SLIM)
    slope = np.sqrt(across + steep * steep)
    return (level - 1.0) * (level + TINY) / (slope + TINY)


def heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the distance to a heart, its lower end down: a square on its corner with two half circles.

    The formula is that of Quilez, https://iquilezles.org/articles/distfunctions2d/.

    >>> heart(np.array([0.0, 0.0]), np.array([1.0, 0.0])).round(3).tolist()
    [0.0, -0.586]
    """
    x, y = np.abs(u) * HEART, (1.0 - v) * HEART
    total = x + y
    notch = x * x + (y - 1.0) * (y - 1.0)
    foot = np.maximum(total, 0.0) * 0.5
    side = (x - foot) * (x - foot) + (y - foot) * (y - foot)
    lobe = (x - 0.25) * (x - 0.25) + (y - 0.75) * (y - 0.75)
    below = np.sqrt(np.minimum(notch, side)) * np.sign(x - y)
    return np.where(total > 1.0, np.sqrt(lobe) - LOBE, below) * (1.0 / HEART)


def triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the distance to a triangle of equal sides with its corners on the circle, one of them up.

    >>> triangle(np.array([0.0, 0.0]), np.array([0.0, -1.0])).round(3).tolist()
    [-0.5, 0.0]
    """
    return np.maximum(np.abs(u) * (math.sqrt(3.0) / 2.0) - v * 0.5, v) - 0.5


OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": square,
    "ellipse": ellipse,
    "heart": heart,
    "triangle": triangle,
}
"""The outlines by their names; a shape's number is its place here."""


def coverage(
    outline: Callable[[np.ndarray, np.ndarray], np.ndarray],
    right: np.ndarray,
    down: np.ndarray,
    size: np.ndarray,
    rotation: np.ndarray,
) -> np.ndarray:
    """Return about the share of each pixel that shapes cover, [N, P, P] float32, rows first.

    Args:
        outline: of all N shapes.
        right: [N, P] float64, how far the middle of each column is to the right of a shape's centre, in pixels.
        down: [N, P] float64, how far the middle of each row is below it.
        size: [N] float64, radius of the circle around the shape in pixels.
        rotation: [N] float64, clockwise, in degrees.
    """
    turn = rotation * (math.pi / 180.0)
    cosine, sine = (wave[:, None] / size[:, None] for wave in (_sine(math.pi / 2.0 - turn), _sine(turn)))

    def total(across: np.ndarray, along: np.ndarray) -> np.ndarray:
        return across.astype(np.float32)[:, None, :] + along.astype(np.float32)[:, :, None]

    distance = outline(total(right * cosine, down * sine), total(-right * sine, down * cosine))
    return np.clip(0.5 - distance * size.astype(np.float32)[:, None, None], 0.0, 1.0)


def colour(hue: np.ndarray) -> np.ndarray:
    """Return red, green and blue of full saturation and value, [N, 3] float32 from 0 to 255, for hues [N].

    >>> colour(np.array([0.0, 1 / 6, 1 / 3, 2 / 3])).round().tolist()
    [[255.0, 0.0, 0.0], [255.0, 255.0, 0.0], [0.0, 255.0, 0.0], [0.0, 0.0, 255.0]]
    """
    distance = np.abs(6.0 * hue[:, None] - np.array([3.0, 2.0, 4.0]))
    share = np.clip(np.array([-1.0, 2.0, 2.0]) + np.array([1.0, -1.0, -1.0]) * distance, 0.0, 1.0)
    return (255.0 * share).astype(np.float32)


def _sine(angle: np.ndarray) -> np.ndarray:
    """Return the sine of angles from 0 to pi / 2 by Taylor's polynomial, the same on every machine.

    >>> float(np.abs(_sine(np.linspace(0, np.pi / 2)) - np.sin(np.linspace(0, np.pi / 2))).max()) < 1e-11
    True
    """
    squared, total = angle * angle, np.zeros_like(angle)
    for power in range(15, 0, -2):
        total = total * squared + (-1.0) ** (power // 2) / math.factorial(power)
    return total * angle

"""The palette as people with and without colour-vision deficiencies see it."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from vaeflow.plots.palette import CLASSES, SHAPES, mark_of

LEAST = 17.0
"""Smallest difference of two classes, CIE76. About 2.3 is a just noticeable difference of large patches."""

# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency (IEEE TVCG,
# 2009), severity 1.0, for linear RGB
SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(srgb):
    """Undo the transfer function of sRGB (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB, for the white point D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    t = rgb @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def least_difference(colours, seen):
    """The smallest CIE76 difference of two colours, as they are seen."""
    points = lab(np.clip(linear(np.array([to_rgb(colour) for colour in colours])) @ SEEN[seen].T, 0.0, 1.0))
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return apart[np.triu_indices(len(colours), 1)].min()


def test_lab_of_known_colours():  # by the CIE's formulas, as tables list them
    found = lab(linear(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])))
    np.testing.assert_allclose(found, [[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]], atol=0.05)


@pytest.mark.parametrize("seen", SEEN)
def test_ten_classes_differ_for_all_kinds_of_vision(seen):
    assert len(CLASSES) == 10
    assert least_difference(CLASSES, seen) > LEAST


def test_the_threshold_refuses_other_palettes():
    viridis = mpl.colormaps["viridis"].resampled(10)(range(10))[:, :3]
    assert least_difference(viridis, "normal") < LEAST
    assert min(least_difference(mpl.colormaps["tab10"].colors, seen) for seen in SEEN) < LEAST / 2


def test_forty_classes_have_forty_marks():
    count = len(CLASSES) * len(SHAPES)
    assert len({mark_of(number) for number in range(count)}) == count == 40

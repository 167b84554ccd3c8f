"""Many small images as one."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

LOWEST, HIGHEST = 0.05, 0.95


def is_image(x_shape: tuple[int, ...]) -> bool:
    """Return whether an example can be drawn: [H, W, 1] (grey) or [H, W, 3] (red, green, blue).

    >>> is_image((28, 28, 1)), is_image((784,))
    (True, False)
    """
    return len(x_shape) == 3 and x_shape[-1] in (1, 3)


def tile(images: np.ndarray, columns: int, *, gap: int = 0) -> np.ndarray:
    """Return images side by side, row after row; values are clipped to [0, 1] and empty cells are white.

    Args:
        images: [N, H, W, C].
        columns: images in a row.
        gap: white pixels between two images.

    Returns:
        [rows * (H + gap) - gap, columns * (W + gap) - gap, C] float32.

    >>> tile(np.zeros((3, 2, 2, 1)), columns=2, gap=1)[:, :, 0].astype(int).tolist()
    [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.ones((rows * columns, height + gap, width + gap, channels), np.float32)
    cells[:count, :height, :width] = np.clip(np.nan_to_num(images), 0.0, 1.0)
    cells = cells.reshape((rows, columns, height + gap, width + gap, channels)).transpose(0, 2, 1, 3, 4)
    whole = cells.reshape((rows * (height + gap), columns * (width + gap), channels))
    return whole[: rows * (height + gap) - gap, : columns * (width + gap) - gap]


def prior_quantiles(count: int) -> np.ndarray:
    """Return `count` standard normal quantiles at equal steps of probability from 0.05 to 0.95.

    >>> [f"{value:z.3f}" for value in prior_quantiles(3)]
    ['-1.645', '0.000', '1.645']
    """
    return np.array([NormalDist().inv_cdf(p) for p in np.linspace(LOWEST, HIGHEST, count)], np.float32)

"""Residual convolutions, with group normalization: it looks at one example at a time."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import keras

from vaeflow.components.layers import Bias

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS = 8


def features(x_shape: tuple[int, ...], widths: Sequence[int], blocks: int) -> keras.Model:
    """Return a network from [B, H, W, C] to [B, F], the mean over positions of the last width."""
    x = keras.Input(x_shape)
    h = keras.layers.Activation("silu")(_normalized(_down(x, widths, blocks)))
    return keras.Model(x, keras.layers.GlobalAveragePooling2D()(h), name="encoder")


def to_map(x_shape: tuple[int, ...], channels: int, widths: Sequence[int], blocks: int) -> keras.Model:
    """Return a network from [B, H, W, C] to [B, h, w, channels] float32."""
    x = keras.Input(x_shape)
    h = keras.layers.Activation("silu")(_normalized(_down(x, widths, blocks)))
    return keras.Model(x, _convolution(h, channels, 3, dtype="float32"), name="encoder")


def from_map(
    z_shape: tuple[int, ...], output_shape: tuple[int, ...], widths: Sequence[int], blocks: int
) -> keras.Model:
    """Return a network from [B, h, w, C] to [B, *output_shape] float32."""
    z = keras.Input(z_shape)
    return keras.Model(z, _up(_convolution(z, widths[0], 3), output_shape, widths, blocks), name="decoder")


def from_vector(size: int, output_shape: tuple[int, ...], widths: Sequence[int], blocks: int) -> keras.Model:
    """Return a network from [B, D] to [B, *output_shape] float32."""
    z = keras.Input((size,))
    grid = tuple(side >> (len(widths) - 1) for side in output_shape[:2])
    h = keras.layers.Reshape((*grid, widths[0]))(keras.layers.Dense(prod(grid) * widths[0])(z))
    return keras.Model(z, _up(h, output_shape, widths, blocks), name="decoder")


def _down(x: keras.KerasTensor, widths: Sequence[int], blocks: int) -> keras.KerasTensor:
    h = _convolution(x, widths[0], 3)
    for number, width in enumerate(widths):
        if number:
            h = _convolution(h, width, 3, strides=2)
        for _ in range(blocks):
            h = _residual(h, width)
    return h


def _up(h: keras.KerasTensor, output_shape: tuple[int, ...], widths: Sequence[int], blocks: int) -> keras.KerasTensor:
    for number, width in enumerate(widths):
        if number:
            h = Bias()(keras.layers.Conv2DTranspose(width, 4, 2, "same", use_bias=False)(h))
        for _ in range(blocks):
            h = _residual(h, width)
    h = keras.layers.Activation("silu")(_normalized(h))
    return _convolution(h, output_shape[-1], 3, dtype="float32")


def _residual(h: keras.KerasTensor, width: int) -> keras.KerasTensor:
    inner = keras.layers.Activation("silu")(_normalized(h))
    inner = _convolution(inner, width, 3)
    inner = keras.layers.Activation("silu")(_normalized(inner))
    # Without a bias: TensorFlow's rewriter fails, with a message, where a biased convolution is added to another.
    return keras.layers.Add()([h, keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(inner)])


def _normalized(h: keras.KerasTensor) -> keras.KerasTensor:
    width = h.shape[-1]
    groups = next(count for count in range(min(GROUPS, width), 0, -1) if width % count == 0)
    return keras.layers.GroupNormalization(groups, dtype="float32")(h)


def _convolution(
    h: keras.KerasTensor, width: int, side: int, *, strides: int = 1, dtype: str | None = None
) -> keras.KerasTensor:
    made = keras.layers.Conv2D(width, side, strides, "same", use_bias=False, dtype=dtype)(h)
    return Bias(dtype=dtype)(made)

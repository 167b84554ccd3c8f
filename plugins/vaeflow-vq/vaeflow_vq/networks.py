"""Residual convolutions between images [H, W, C] and maps of vectors [h, w, D]."""

from __future__ import annotations

from math import prod

import keras

from vaeflow.components.layers import Bias


def encoder(x_shape: tuple[int, ...], size: int, *, halvings: int, width: int) -> keras.Model:
    """Return a network from [B, H, W, C] to [B, H / 2**halvings, W / 2**halvings, size] float32."""
    x = keras.Input(x_shape)
    h = x
    for _ in range(halvings):
        h = keras.layers.ReLU()(_convolution(h, width, 4, strides=2))
    h = _residual(_residual(_convolution(h, width, 3), width), width)
    return keras.Model(x, _convolution(h, size, 1, dtype="float32"), name="encoder")


def decoder(z_shape: tuple[int, int, int], output_shape: tuple[int, ...], *, halvings: int, width: int) -> keras.Model:
    """Return a network from [B, h, w, D] to [B, h 2**halvings, w 2**halvings, channels] float32.

    The channels are all numbers that `output_shape` [H, W, ...] has at one position.
    """
    z = keras.Input(z_shape)
    h = _residual(_residual(_convolution(z, width, 3), width), width)
    for _ in range(halvings):
        h = keras.layers.Conv2DTranspose(width, 4, 2, "same", use_bias=False)(h)
        h = keras.layers.ReLU()(Bias()(h))
    return keras.Model(z, _convolution(h, prod(output_shape[2:]), 3, dtype="float32"), name="decoder")


def _residual(h: keras.KerasTensor, width: int) -> keras.KerasTensor:
    inner = keras.layers.ReLU()(_convolution(keras.layers.ReLU()(h), width, 3))
    # Without a bias: TensorFlow's rewriter fails, with a message, where a biased convolution is added to another.
    return keras.layers.Add()([h, keras.layers.Conv2D(width, 1, use_bias=False)(inner)])


def _convolution(
    h: keras.KerasTensor, width: int, side: int, *, strides: int = 1, dtype: str | None = None
) -> keras.KerasTensor:
    made = keras.layers.Conv2D(width, side, strides, "same", use_bias=False, dtype=dtype)(h)
    return Bias(dtype=dtype)(made)

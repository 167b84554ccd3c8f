"""Convolutions between images, of 64 by 64 pixels in the papers, and vectors."""

from __future__ import annotations

import math

import keras

from vaeflow.components.layers import Bias

FILTERS = (32, 32, 64, 64)


def encoder(x_shape: tuple[int, ...], *, width: int) -> keras.Model:
    """Return a network from [B, H, W, C] to features [B, width] float32."""
    image = keras.Input(x_shape)
    h = image
    for filters in FILTERS:
        h = _activated(keras.layers.Conv2D(filters, 4, 2, "same", use_bias=False), h)
    h = keras.layers.Flatten()(h)
    return keras.Model(image, keras.layers.Dense(width, activation="relu", dtype="float32")(h), name="encoder")


def decoder(latent_size: int, output_shape: tuple[int, ...], *, width: int) -> keras.Model:
    """Return a network from z [B, D] to parameters [B, H, W, P] float32."""
    height, breadth, channels = output_shape
    halved = 1 << len(FILTERS)
    small = (-(-height // halved), -(-breadth // halved), FILTERS[-1])
    z = keras.Input((latent_size,))
    h = keras.layers.Dense(width, activation="relu", dtype="float32")(z)
    h = keras.layers.Dense(math.prod(small), activation="relu")(h)
    h = keras.layers.Reshape(small)(h)
    for filters in FILTERS[-2::-1]:
        h = _activated(keras.layers.Conv2DTranspose(filters, 4, 2, "same", use_bias=False), h)
    last = keras.layers.Conv2DTranspose(channels, 4, 2, "same", use_bias=False, dtype="float32")
    h = Bias(dtype="float32")(last(h))
    return keras.Model(z, h[:, :height, :breadth], name="decoder")


def _activated(layer: keras.layers.Layer, inputs: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.ReLU()(Bias()(layer(inputs)))

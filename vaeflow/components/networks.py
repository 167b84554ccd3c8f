"""Built-in encoders and decoders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import keras

Normalization = Literal["none", "batch", "layer"]

# Parts of a network that need more than bfloat16's eight bits stay float32: those next to z, and the logits.
FULL = "float32"


def conv_mnist_encoder(x_shape: tuple[int, ...], *, width: int = 32) -> keras.Model:
    """The article's convolutional encoder: images [B, H, W, C] to features [B, width].

    Four 3 by 3 convolutions (32, 64 with stride 2, 64, 64) and a dense layer, all with ReLU.

    Args:
        x_shape: (H, W, C).
        width: units of the dense layer.

    Raises:
        UsageError: if x is not an image.
    """
    import keras
    from keras import layers

    from vaeflow.components.convolutions import Conv2D

    _require_image("conv-mnist", x_shape)
    image = keras.Input(x_shape)
    h = image
    for filters, strides in ((32, 1), (64, 2), (64, 1), (64, 1)):
        h = _biased(Conv2D(filters, strides=strides), h)
        h = layers.ReLU()(h)
    h = layers.Flatten()(h)
    h = layers.Dense(width, activation="relu", dtype=FULL)(h)
    return keras.Model(image, h, name="encoder")


def conv_mnist_decoder(latent_size: int, output_shape: tuple[int, ...]) -> keras.Model:
    """The article's convolutional decoder: latents [B, D] to a likelihood's parameters [B, H, W, P].

    A dense layer to H/2 by W/2 by 64, a transposed 3 by 3 convolution (32, stride 2), both with ReLU, and a 3 by 3
    convolution to the parameters.

    Args:
        latent_size: D.
        output_shape: (H, W, P), H and W even.

    Raises:
        UsageError: if the output is not an image, or one with an odd side.
    """
    import keras
    from keras import layers

    from vaeflow.components.convolutions import Conv2D, Conv2DTranspose

    _require_image("conv-mnist", output_shape)
    height, width, channels = output_shape
    if height % 2 or width % 2:
        raise UsageError(f"decoder 'conv-mnist' needs an even height and width of the image, not {height}x{width}")
    small = (height // 2, width // 2, 64)
    z = keras.Input((latent_size,))
    h = layers.Dense(math.prod(small), activation="relu", dtype=FULL)(z)
    h = layers.Reshape(small)(h)
    h = _biased(Conv2DTranspose(32, strides=2), h)
    h = layers.ReLU()(h)
    h = _biased(Conv2D(channels, dtype=FULL), h)
    return keras.Model(z, h, name="decoder")


def mlp_encoder(
    x_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    normalization: Normalization = "none",
) -> keras.Model:
    """Dense layers: x [B, *X] to features [B, hidden[-1]] (Burda et al. 2015: two of 200 with tanh).

    Args:
        x_shape: X, any shape.
        hidden: units of each layer.
        activation: name of a Keras activation.
        normalization: of each layer's output; `batch` normalizes over a microbatch, with moving averages over all.
    """
    import keras
    from keras import layers

    x = keras.Input(x_shape)
    h = layers.Flatten()(x)
    for units in hidden:
        h = _normalized(normalization, layers.Dense(units, activation=activation)(h))
    return keras.Model(x, h, name="encoder")


def mlp_decoder(
    latent_size: int,
    output_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "tanh",
    normalization: Normalization = "none",
) -> keras.Model:
    """Dense layers: latents [B, D] to a likelihood's parameters [B, *P].

    Args:
        latent_size: D.
        output_shape: P, any shape.
        hidden: units of each layer.
        activation: name of a Keras activation.
        normalization: of each layer's output, as in the encoder.
    """
    import keras
    from keras import layers

    z = keras.Input((latent_size,))
    h = z
    for index, units in enumerate(hidden):
        dense = layers.Dense(units, activation=activation, dtype=FULL if index == 0 else None)
        h = _normalized(normalization, dense(h))
    h = layers.Dense(math.prod(output_shape), dtype=FULL)(h)
    h = layers.Reshape(output_shape, dtype=FULL)(h)
    return keras.Model(z, h, name="decoder")


def _normalized(name: Normalization, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a normalization, in float32 for any precision."""
    from keras import layers

    if name == "batch":
        return layers.BatchNormalization(dtype=FULL)(inputs)
    return layers.LayerNormalization(dtype=FULL)(inputs) if name == "layer" else inputs


def _biased(layer: keras.Layer, inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a layer without a bias and add one whose gradient is right in half precision."""
    from vaeflow.components.layers import Bias

    return Bias(dtype=layer.dtype_policy)(layer(inputs))


def _require_image(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise UsageError(
            f"'{name}' needs images (height, width, channels), but an example has shape {shape}; try 'mlp'"
        )

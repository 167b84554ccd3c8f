"""Normal distributions over maps of latents, and convolutions in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from vaeflow.components.layers import Bias
from vaeflow.model.distributions import DiagonalNormal

FULL = "float32"  # layers next to latents, in any precision


@dataclass(frozen=True)
class NormalMaps(DiagonalNormal):
    """N(mu, diag(sigma^2)) over maps; mu and log_var are [..., H, W, C]."""

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of maps [..., H, W, C], [...] in nats."""
        return tf.reduce_sum(super().log_prob(value), axis=(-2, -1))

    def with_lead(self, lead: tf.Tensor) -> NormalMaps:
        """Return the distributions with other leading axes: [N, H, W, C] to [*lead, H, W, C]."""
        return NormalMaps(with_lead(self.mu, lead), with_lead(self.log_var, lead))


def with_lead(maps: tf.Tensor, lead: tf.Tensor) -> tf.Tensor:
    """Return maps with other leading axes, [N, H, W, C] to [*lead, H, W, C]."""
    return tf.reshape(maps, tf.concat([lead, tf.shape(maps)[1:]], axis=0))


@keras.saving.register_keras_serializable(package="vaeflow_hierarchical")
class Start(keras.layers.Layer):
    """A learned map, the same for every example: where the network from the top down begins.

    Args:
        shape: (H, W, C).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(name="start", dtype=FULL)
        self.map = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.5), name="map")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"shape": list(self.map.shape)}

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """Return [N, H, W, C] for a number N of rows."""
        return repeated(tf.convert_to_tensor(self.map)[None], rows)


@keras.saving.register_keras_serializable(package="vaeflow_hierarchical")
class ClassMaps(keras.layers.Layer):
    """A learned map for each class: what is added to `Start` in a conditional model.

    Args:
        shape: (H, W, C) of a map.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(name="class_maps", dtype=FULL)
        self.shape = tuple(shape)

    def build(self, labels_shape: tuple[int | None, ...]) -> None:
        """Create the maps of the classes, [K, H, W, C]."""
        initial = keras.initializers.RandomNormal(stddev=0.5)
        self.maps = self.add_weight(shape=(labels_shape[-1], *self.shape), initializer=initial, name="maps")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"shape": list(self.shape)}

    def call(self, labels: tf.Tensor) -> tf.Tensor:
        """Return [N, H, W, C] for one-hot labels [N, K]."""
        maps = tf.reshape(tf.convert_to_tensor(self.maps), (labels.shape[-1], -1))
        return tf.reshape(tf.matmul(labels, maps), (-1, *self.shape))


def conv(
    filters: int, size: int = 3, *, strides: int = 1, scale: float = 1.0, dtype: str | None = None
) -> list[keras.layers.Layer]:
    """Return a convolution and its bias; `scale` is a factor of the initial weights' standard deviation."""
    initial = keras.initializers.VarianceScaling(scale**2, mode="fan_avg", distribution="uniform")
    options = {"strides": strides, "padding": "same", "use_bias": False, "dtype": dtype}
    return [keras.layers.Conv2D(filters, size, kernel_initializer=initial, **options), Bias(dtype=dtype)]


def block(width: int, outputs: int, *, name: str, scale: float = 1.0, dtype: str | None = None) -> keras.Sequential:
    """Return GELU, a convolution to `width` channels, GELU and a convolution to `outputs`, with 3 by 3 kernels.

    Args:
        width: channels inside.
        outputs: channels of the result.
        name: of the block.
        scale: factor of the initial weights of the last convolution.
        dtype: of the last convolution, if it differs from the policy's.
    """
    first = [keras.layers.Activation("gelu"), *conv(width), keras.layers.Activation("gelu")]
    return keras.Sequential([*first, *conv(outputs, scale=scale, dtype=dtype)], name=name)


def upsampled(maps: tf.Tensor) -> tf.Tensor:
    """Return maps [N, H, W, C] with each pixel repeated, [N, 2 H, 2 W, C]."""
    _, height, width, channels = maps.shape
    fourfold = maps[:, :, None, :, None, :] + tf.zeros((1, 1, 2, 1, 2, 1))
    return tf.reshape(fourfold, (-1, 2 * height, 2 * width, channels))


def repeated(maps: tf.Tensor, times: tf.Tensor | int) -> tf.Tensor:
    """Return maps [N, H, W, C] several times, one after the other, [times * N, H, W, C].

    The gradient of `tf.tile` transposes a shape, for which TensorFlow prints a message on some processors.
    """
    return tf.reshape(maps[None] + tf.zeros((times, 1, 1, 1, 1)), (-1, *maps.shape[1:]))

"""Keras convolutions whose kernel gradient, in float32, is summed in short parts to reduce rounding.

TensorFlow adds a kernel's gradient over all positions of all images. oneDNN does it in one running sum, whose rounding
depends on the number of replicas and is more than 1e-6 of the gradient. Here the images of a batch are split into
pieces. If one side has a single channel, the gradient is a small matrix product per image, which is also faster.

Legend: B images, H by W and h by w positions (of the larger and of the smaller side, where there is a stride), K by K
the kernel, C and F channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

    Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

IMAGES = 13  # most images per piece, unless there would be more than PIECES pieces
PIECES = 4  # most pieces: each costs a few percent of the operation


@keras.saving.register_keras_serializable(package="vaeflow")
class Conv2D(keras.layers.Conv2D):
    """A convolution without bias and activation, with padding "same".

    Args:
        filters: F.
        size: K, odd.
        strides: in both directions.
        options: of a Keras layer, such as `dtype`. In half precision TensorFlow's own gradient is used.
    """

    def __init__(self, filters: int, size: int = 3, *, strides: int = 1, **options: Any) -> None:
        super().__init__(filters, size, strides=strides, padding="same", use_bias=False, **options)

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made of, as Keras saves it."""
        return _config(self)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return [B, h, w, F] for inputs [B, H, W, C]."""
        if inputs.dtype != tf.float32:
            return super().call(inputs)
        strides = self.strides[0]

        @tf.custom_gradient
        def convolution(large: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
            def gradient(small: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                back = tf.nn.conv2d_transpose(small, kernel, tf.shape(large), strides, "SAME")
                return back, kernel_gradient(large, small, kernel.shape, strides)

            return tf.nn.conv2d(large, kernel, strides, "SAME"), gradient

        return convolution(inputs, tf.convert_to_tensor(self.kernel))


@keras.saving.register_keras_serializable(package="vaeflow")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """The transposed convolution, with the same options as `Conv2D`."""

    def __init__(self, filters: int, size: int = 3, *, strides: int = 1, **options: Any) -> None:
        super().__init__(filters, size, strides=strides, padding="same", use_bias=False, **options)

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made of, as Keras saves it."""
        return _config(self)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return [B, H, W, C] for inputs [B, h, w, F]."""
        if inputs.dtype != tf.float32:
            return super().call(inputs)
        strides = self.strides[0]
        count, height, width, _ = tf.unstack(tf.shape(inputs))
        shape = tf.stack([count, height * strides, width * strides, self.filters])

        @tf.custom_gradient
        def convolution(small: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
            def gradient(large: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                back = tf.nn.conv2d(large, kernel, strides, "SAME")
                return back, kernel_gradient(large, small, kernel.shape, strides)

            return tf.nn.conv2d_transpose(small, kernel, shape, strides, "SAME"), gradient

        return convolution(inputs, tf.convert_to_tensor(self.kernel))


def _config(layer: Conv2D | Conv2DTranspose) -> dict[str, Any]:
    """Return the arguments of a convolution's constructor."""
    of_keras = keras.layers.Layer.get_config(layer)
    own = {"filters": layer.filters, "size": layer.kernel_size[0], "strides": layer.strides[0]}
    return {**own, **{name: of_keras[name] for name in ("name", "trainable", "dtype")}}


def kernel_gradient(large: tf.Tensor, small: tf.Tensor, shape: tuple[int, int, int, int], strides: int) -> tf.Tensor:
    """Return a kernel's gradient [K, K, C, F]: products of two sides' values, added over the positions of all images.

    Args:
        large: the side with more positions, [B, H, W, C]: a convolution's inputs.
        small: the other, [B, h, w, F]: its outputs' gradient.
        shape: of the kernel.
        strides: H over h.
    """
    size, _, channels, filters = shape
    if strides == 1 and channels == 1:
        return tf.reshape(_products(large, small, size), shape)
    if strides == 1 and filters == 1:  # the other way round, the kernel is seen from its other end
        return tf.reshape(_products(small, large, size)[::-1], shape)
    rest = {"filter_sizes": shape, "strides": [1, strides, strides, 1], "padding": "SAME"}
    pieces = zip(_cut(large), _cut(small), strict=True)
    return tf.add_n([tf.raw_ops.Conv2DBackpropFilter(input=a, out_backprop=b, **rest) for a, b in pieces])


def _products(image: tf.Tensor, other: tf.Tensor, size: int) -> tf.Tensor:
    """Return [K^2, F]: an image of one channel [B, H, W, 1], shifted each way, times the other [B, H, W, F]."""
    _, height, width, filters = other.shape
    around = size // 2
    padded = tf.pad(image[..., 0], [[0, 0], [around, around], [around, around]])
    shifted = [padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    shifted_BKP = tf.reshape(tf.stack(shifted, axis=1), (-1, size * size, height * width))
    return tf.reduce_sum(shifted_BKP @ tf.reshape(other, (-1, height * width, filters)), axis=0)


def _cut(images: tf.Tensor) -> list[tf.Tensor]:
    count = images.shape[0] or 0  # unknown outside of the step: one piece
    pieces = max(1, min(PIECES, -(-count // IMAGES)))
    sizes = [count // pieces + (i < count % pieces) for i in range(pieces)]
    return tf.split(images, sizes) if pieces > 1 else [images]

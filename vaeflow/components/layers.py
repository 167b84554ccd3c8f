"""Layers that stay right in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable


class Bias(keras.layers.Layer):
    """Adds one learned number a channel; its gradient is summed in float32.

    TensorFlow's bias gradient (`BiasAddGrad`, under every Keras convolution with a bias) adds bfloat16 numbers in
    bfloat16 on CPUs: over the 78,400 positions of a batch of 100 images it is wrong by up to 90%. A plain sum of
    float16 numbers is no better.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variable, [C], for inputs [..., C]."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias", autocast=False)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return inputs [..., C] plus the bias."""
        return _add(inputs, tf.convert_to_tensor(self.bias))


@tf.custom_gradient
def _add(inputs: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        axes = list(range(len(upstream.shape) - 1))
        return upstream, tf.reduce_sum(tf.cast(upstream, tf.float32), axis=axes)

    return inputs + tf.cast(bias, inputs.dtype), gradient

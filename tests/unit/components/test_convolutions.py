"""Gradients of convolutions and biases: right, and closer to the exact sum than one sum over all positions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.components.convolutions import Conv2D, Conv2DTranspose
from vaeflow.components.layers import Bias

CASES = [  # class, channels, filters, size, strides, images, height, width
    (Conv2D, 1, 8, 3, 1, 100, 28, 28),
    (Conv2D, 8, 1, 3, 1, 100, 28, 28),
    (Conv2D, 1, 1, 3, 1, 5, 4, 6),
    (Conv2D, 2, 1, 5, 1, 1, 7, 5),
    (Conv2D, 1, 2, 5, 1, 3, 5, 9),
    (Conv2D, 8, 16, 3, 2, 100, 28, 28),
    (Conv2D, 1, 4, 3, 2, 27, 7, 9),
    (Conv2D, 4, 3, 3, 1, 27, 7, 9),
    (Conv2DTranspose, 16, 8, 3, 2, 101, 14, 14),
    (Conv2DTranspose, 3, 1, 3, 1, 14, 6, 5),
    (Conv2DTranspose, 2, 3, 3, 1, 1, 6, 5),
]


def derivatives(layer, inputs, upstream):
    """Return outputs, the inputs' gradient and the kernel's, in a graph as in a step."""

    @tf.function
    def run(inputs: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        kernel = layer.kernel.value
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        return [outputs, *tape.gradient(outputs, [inputs, kernel], output_gradients=upstream)]

    return [np.asarray(t, np.float64) for t in run(tf.constant(inputs), tf.constant(upstream))]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions_are_those_of_keras_in_double_precision(case):
    kind, channels, filters, size, strides, *shape = case
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.normal(size=(*shape, channels)) + 0.5, 0.0).astype(np.float32)
    layer = kind(filters, size, strides=strides)
    upstream = (rng.normal(size=layer(inputs).shape) + 0.2).astype(np.float32)  # sums that grow, which round most
    keras_own = getattr(keras.layers, kind.__name__)
    theirs = keras_own(filters, size, strides=strides, padding="same", use_bias=False, dtype="float64")
    theirs.build(inputs.shape)
    theirs.kernel.assign(layer.kernel)
    expected = derivatives(theirs, inputs.astype(np.float64), upstream.astype(np.float64))
    for found, exact in zip(derivatives(layer, inputs, upstream), expected, strict=True):
        assert np.linalg.norm(found - exact) <= 8e-7 * np.linalg.norm(exact)


@pytest.mark.parametrize("kind", [Conv2D, Conv2DTranspose])
def test_convolutions_in_half_precision_are_those_of_keras(kind):
    inputs = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype(np.float32)
    layer = kind(2, dtype="mixed_bfloat16")
    theirs = getattr(keras.layers, kind.__name__)(2, 3, padding="same", use_bias=False, dtype="mixed_bfloat16")
    theirs.build(inputs.shape)
    layer(inputs)
    theirs.kernel.assign(layer.kernel)
    upstream = tf.cast(inputs, tf.bfloat16)
    for ours, keras_own in zip(
        derivatives(layer, inputs, upstream), derivatives(theirs, inputs, upstream), strict=True
    ):
        np.testing.assert_array_equal(ours, keras_own)


def test_a_convolution_of_no_known_number_of_images():
    layer = Conv2D(3)
    layer.build((None, 4, 4, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 2))])
    def gradient(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.kernel.value)

    images = tf.ones((40, 4, 4, 2))
    np.testing.assert_allclose(gradient(images), derivatives(layer, images, tf.ones((40, 4, 4, 3)))[2], rtol=1e-6)


def test_the_gradient_of_a_bias_is_close_to_the_exact_sum():
    upstream = np.random.default_rng(0).uniform(size=(100, 28, 28, 4)).astype(np.float32)
    bias = Bias()
    bias.build(upstream.shape)
    with tf.GradientTape() as tape:
        outputs = bias(tf.zeros(upstream.shape))
    found = tape.gradient(outputs, bias.bias.value, output_gradients=tf.constant(upstream))
    exact = upstream.astype(np.float64).sum((0, 1, 2))
    assert np.linalg.norm(found - exact) <= 4e-7 * np.linalg.norm(exact)
    one_sum = np.cumsum(upstream.reshape(-1, 4), axis=0, dtype=np.float32)[-1]
    assert np.linalg.norm(one_sum - exact) > 1e-6 * np.linalg.norm(exact)  # so there is something to mend

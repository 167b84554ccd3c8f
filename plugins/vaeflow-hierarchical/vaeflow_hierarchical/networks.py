"""Dense networks between layers of latents, and their use on samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.model.distributions import DiagonalNormal
from vaeflow.model.latents import beside_labels

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, Likelihood

FULL = "float32"  # layers next to latents, in any precision


def dense(
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int | None,
    activation: str,
    *,
    name: str,
    batch_norm: bool = False,
    from_latents: bool = True,
) -> keras.Sequential:
    """Return a dense network from [N, inputs] to [N, outputs].

    Args:
        inputs: size of the last axis.
        hidden: units of the hidden layers.
        outputs: of the last layer, which is linear and float32; None ends with the last hidden layer.
        activation: of the hidden layers.
        name: of the network.
        batch_norm: whether hidden layers are normalized over the rows, in float32, before the activation.
        from_latents: whether the inputs are latents; then the first layer is float32.
    """
    layers: list[keras.layers.Layer] = [keras.Input((inputs,))]
    for number, units in enumerate(hidden):
        dtype = FULL if from_latents and number == 0 else None
        if batch_norm:  # which subtracts the mean, so that a bias would have no effect
            layers.append(keras.layers.Dense(units, use_bias=False, dtype=dtype))
            layers.append(keras.layers.BatchNormalization(dtype=FULL))
            layers.append(keras.layers.Activation(activation, dtype=dtype))
        else:
            layers.append(keras.layers.Dense(units, activation, dtype=dtype))
    if not hidden and outputs is None:
        layers.append(keras.layers.Identity())
    if outputs is not None:
        layers.append(keras.layers.Dense(outputs, dtype=FULL))
    return keras.Sequential(layers, name=name)


def over_samples(
    network: keras.Model, h: tf.Tensor, *, labels: tf.Tensor | None = None, training: bool = False
) -> tf.Tensor:
    """Return a network's float32 outputs [..., F] for inputs [..., B, D], with labels [B, C] beside them."""
    h = beside_labels(h, labels)
    rows = tf.reshape(h, (-1, h.shape[-1]))
    outputs = tf.cast(network(rows, training=training), tf.float32)
    shape = tf.concat([tf.shape(h)[:-1], tf.shape(outputs)[-1:]], axis=0)
    return tf.ensure_shape(tf.reshape(outputs, shape), h.shape[:-1].concatenate(outputs.shape[-1]))


def normal(
    network: keras.Model, h: tf.Tensor, *, labels: tf.Tensor | None = None, training: bool = False
) -> DiagonalNormal:
    """Return N(mu, sigma^2), [..., D], of a network whose outputs are mu and log sigma^2."""
    return DiagonalNormal(*tf.split(over_samples(network, h, labels=labels, training=training), 2, axis=-1))


def likelihood_of(
    likelihood: Likelihood,
    network: keras.Model,
    h: tf.Tensor,
    *,
    labels: tf.Tensor | None = None,
    training: bool = False,
) -> Distribution:
    """Return p(x given z) for latents [..., B, D], with labels [B, C] beside them."""
    outputs = over_samples(network, h, labels=labels, training=training)
    shape = likelihood.parameters_shape
    full = tf.reshape(outputs, tf.concat([tf.shape(outputs)[:-1], shape], axis=0))
    return likelihood.distribution(tf.ensure_shape(full, outputs.shape[:-1].concatenate(shape)))


def flat(x: tf.Tensor, x_shape: tuple[int, ...]) -> tf.Tensor:
    """Return x [B, *X] as [B, prod(X)]."""
    return tf.reshape(x, (-1, math.prod(x_shape)))


def mean_over_samples(terms: tf.Tensor) -> tf.Tensor:
    """Return the mean over L of terms [L, B, D]; terms [B, D], which are the same for all samples, are unchanged."""
    return tf.reduce_mean(terms, axis=0) if terms.shape.rank == 3 else terms

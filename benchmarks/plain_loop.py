"""The peer: the article's network in the plainest TensorFlow loop, one compiled call a batch.

    python benchmarks/plain_loop.py MNIST.npz STEPS

Prints images per second, as a number.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

BATCH = 100
WARM_UP = 20


def networks() -> tuple[keras.Model, keras.Model]:
    relu = {"padding": "same", "activation": "relu"}
    image = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 3, **relu)(image)
    h = layers.Conv2D(64, 3, strides=2, **relu)(h)
    h = layers.Conv2D(64, 3, **relu)(h)
    h = layers.Conv2D(64, 3, **relu)(h)
    h = layers.Dense(32, activation="relu")(layers.Flatten()(h))
    encoder = keras.Model(image, [layers.Dense(2)(h), layers.Dense(2)(h)])
    z = keras.Input((2,))
    h = layers.Reshape((14, 14, 64))(layers.Dense(14 * 14 * 64, activation="relu")(z))
    h = layers.Conv2DTranspose(32, 3, strides=2, **relu)(h)
    return encoder, keras.Model(z, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(h))


def negative_elbo(encoder: keras.Model, decoder: keras.Model, x: tf.Tensor) -> tf.Tensor:
    mean, log_var = encoder(x)
    z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
    errors = tf.reduce_sum(keras.losses.binary_crossentropy(x, decoder(z)), axis=(1, 2))  # mean over one channel
    divergence = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_var) - log_var - 1.0, axis=-1)
    return tf.reduce_mean(errors + divergence)


def images_per_second(path: str, steps: int) -> float:
    with np.load(path) as arrays:
        x = (arrays["x_train"].reshape(-1, 28, 28, 1) > 127).astype("float32")
    batches = iter(tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(BATCH).repeat())
    encoder, decoder = networks()
    optimizer = keras.optimizers.RMSprop(1e-3)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer.build(variables)

    @tf.function
    def train_step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = negative_elbo(encoder, decoder, batch)
        optimizer.apply(tape.gradient(loss, variables), variables)

    for _ in range(WARM_UP):
        train_step(next(batches))
    started = time.perf_counter()
    for _ in range(steps):
        train_step(next(batches))
    return steps * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    print(images_per_second(sys.argv[1], int(sys.argv[2])))

"""Peers on the article's network, batches of 100, RMSprop: the loops that users write without vaeflow.

    python benchmarks/article_loops.py plain|fit|hand|hand-bfloat16|torch|torch-bfloat16 MNIST.npz STEPS

Prints images per second, as a number. `plain` is the article's loop, one compiled TensorFlow step per batch; `fit` is
Keras's own loop; `hand` is TensorFlow with what an expert does: logits, noise without state, bytes on the device, ten
steps per call; `torch` is PyTorch with channels last.
"""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
from loops import Timed, step_of

BATCH, STEPS_PER_CALL = 100, 10
TIMED = Timed(BATCH, warm_up=20)


def images(path: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["x_train"].reshape(-1, 28, 28, 1)


def networks(output: str | None):
    """The article's encoder and decoder in Keras; the last layers are float32."""
    import keras
    from keras import layers

    relu, full = {"padding": "same", "activation": "relu"}, {"dtype": "float32"}
    image = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 3, **relu)(image)
    h = layers.Conv2D(64, 3, strides=2, **relu)(h)
    h = layers.Conv2D(64, 3, **relu)(h)
    h = layers.Conv2D(64, 3, **relu)(h)
    h = layers.Dense(32, activation="relu")(layers.Flatten()(h))
    encoder = keras.Model(image, [layers.Dense(2, **full)(h), layers.Dense(2, **full)(h)])
    z = keras.Input((2,))
    h = layers.Reshape((14, 14, 64))(layers.Dense(14 * 14 * 64, activation="relu")(z))
    h = layers.Conv2DTranspose(32, 3, strides=2, **relu)(h)
    return encoder, keras.Model(z, layers.Conv2D(1, 3, padding="same", activation=output, **full)(h))


def article_model():
    """The model with the article's loss: a sigmoid in the decoder, and noise from a generator with a state."""
    import keras
    import tensorflow as tf

    class Article(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = networks("sigmoid")

        def call(self, x: tf.Tensor) -> tf.Tensor:
            mean, log_var = self.encoder(x)
            z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
            errors = tf.reduce_sum(keras.losses.binary_crossentropy(x, self.decoder(z)), axis=(1, 2))
            divergence = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_var) - log_var - 1.0, axis=-1)
            return tf.reduce_mean(errors + divergence)

        def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return step_of(self, x)

    model = Article()
    model.compile(optimizer=keras.optimizers.RMSprop(1e-3))
    model(tf.zeros((BATCH, 28, 28, 1)))
    model.optimizer.build(model.trainable_variables)
    return model


def pipeline(x: np.ndarray):
    import tensorflow as tf

    binary = (x > 127).astype("float32")
    return tf.data.Dataset.from_tensor_slices(binary).shuffle(len(x)).batch(BATCH, drop_remainder=True).repeat()


def plain(x: np.ndarray, steps: int) -> float:
    import tensorflow as tf

    model, batches = article_model(), iter(pipeline(x))
    compiled = tf.function(model.train_step)
    return TIMED.steps(lambda: compiled(next(batches)), steps)


def fit(x: np.ndarray, steps: int) -> float:
    import tensorflow as tf

    model, batches = article_model(), pipeline(x).prefetch(tf.data.AUTOTUNE)
    return TIMED.fit(model, batches, steps)


def hand(x: np.ndarray, steps: int, precision: str = "float32") -> float:
    import keras
    import tensorflow as tf

    keras.config.set_dtype_policy(precision)
    (encoder, decoder), stored = networks(None), tf.constant(x)
    variables = [v.value for v in (*encoder.trainable_variables, *decoder.trainable_variables)]
    squares = [tf.Variable(tf.zeros_like(v)) for v in variables]
    done = tf.Variable(0, dtype=tf.int64)

    def loss_of(batch: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        mean, log_var = encoder(batch)
        logits = decoder(mean + tf.exp(0.5 * log_var) * noise)
        errors = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=batch, logits=logits))
        return (errors + 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_var) - log_var - 1.0)) / BATCH

    @tf.function(autograph=False)
    def several() -> None:
        def body(step: tf.Tensor) -> tf.Tensor:
            seed = tf.stack([tf.constant(0, tf.int64), step])
            index = tf.random.stateless_uniform((BATCH,), seed, maxval=len(x), dtype=tf.int32)
            batch = tf.cast(tf.gather(stored, index) > 127, tf.float32)
            with tf.GradientTape() as tape:
                loss = loss_of(batch, tf.random.stateless_normal((BATCH, 2), seed))
            for variable, square, gradient in zip(variables, squares, tape.gradient(loss, variables), strict=True):
                square.assign(0.9 * square + 0.1 * tf.square(gradient))
                variable.assign_sub(1e-3 * gradient * tf.math.rsqrt(square + 1e-7))
            return step + 1

        first = tf.identity(done)
        done.assign(tf.while_loop(lambda step: step < first + STEPS_PER_CALL, body, [first], parallel_iterations=1)[0])

    return TIMED.steps(several, steps, STEPS_PER_CALL)


def torch(x: np.ndarray, steps: int, precision: str = "float32") -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU()]

    body = [*convolution(1, 32), *convolution(32, 64, 2), *convolution(64, 64), *convolution(64, 64)]
    encoder = nn.Sequential(*body, nn.Flatten(), nn.Linear(14 * 14 * 64, 32), nn.ReLU(), nn.Linear(32, 4))
    up = nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1)
    decoder = nn.Sequential(up, nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))
    first = nn.Linear(2, 14 * 14 * 64)
    network = nn.ModuleList([encoder, decoder, first]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3, alpha=0.9)
    examples = torch.from_numpy((x > 127).astype("float32").transpose(0, 3, 1, 2).copy())
    order, position = torch.randperm(len(x)), 0

    def step() -> None:
        nonlocal position
        batch = examples[order[position : position + BATCH]].contiguous(memory_format=torch.channels_last)
        position = (position + BATCH) % (len(x) - BATCH)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            m, s = encoder(batch).float().chunk(2, dim=1)
            z = m + torch.exp(0.5 * s) * torch.randn_like(m)
            small = torch.relu(first(z)).view(-1, 64, 14, 14).contiguous(memory_format=torch.channels_last)
            logits = decoder(small).float()
        loss = functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
        optimizer.zero_grad()
        ((loss + 0.5 * (m.square() + s.exp() - s - 1.0).sum()) / BATCH).backward()
        optimizer.step()

    return TIMED.steps(step, steps)


LOOPS = {
    "plain": plain,
    "fit": fit,
    "hand": hand,
    "hand-bfloat16": lambda x, steps: hand(x, steps, "mixed_bfloat16"),
    "torch": torch,
    "torch-bfloat16": lambda x, steps: torch(x, steps, "bfloat16"),
}

if __name__ == "__main__":
    _, name, path, steps = sys.argv
    print(LOOPS[name](images(path), int(steps)))

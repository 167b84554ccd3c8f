"""Peers on the network of Burda et al. 2015 (784-200-200-50, tanh), dynamic binarization, batches of 20, Adam.

    python benchmarks/burda_loops.py plain|fit|torch MNIST.npz STEPS

Prints images per second, as a number. `plain` is a compiled TensorFlow step per batch, `fit` Keras's own loop with that
step, `torch` the same in PyTorch. All of them use logits, and all threads that their library takes.
"""

from __future__ import annotations

import itertools
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
from loops import Timed, step_of

BATCH = 20
TIMED = Timed(BATCH, warm_up=300)
WIDTHS, LATENTS = (200, 200), 50


def pixels(path: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["x_train"].reshape(-1, 784).astype("float32") / 255.0


def tensorflow_model():
    import keras
    import tensorflow as tf
    from keras import layers

    class Network(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = [layers.Dense(width, activation="tanh") for width in WIDTHS]
            self.mean, self.log_variance = layers.Dense(LATENTS), layers.Dense(LATENTS)
            self.decoder = [*(layers.Dense(width, activation="tanh") for width in WIDTHS), layers.Dense(784)]

        def call(self, x: tf.Tensor) -> tf.Tensor:
            h = x
            for layer in self.encoder:
                h = layer(h)
            mean, log_variance = self.mean(h), self.log_variance(h)
            h = mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))
            for layer in self.decoder:
                h = layer(h)
            cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=h)
            divergence = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - log_variance - 1.0, axis=-1)
            return tf.reduce_mean(tf.reduce_sum(cross_entropy, axis=-1) + divergence)

        def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return step_of(self, x)

    model = Network()
    model.compile(optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-4))
    model(tf.zeros((BATCH, 784)))
    return model


def batches(x: np.ndarray):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(BATCH, drop_remainder=True)
    binarized = data.map(lambda b: tf.cast(tf.random.uniform(tf.shape(b)) < b, tf.float32), tf.data.AUTOTUNE)
    return binarized.prefetch(tf.data.AUTOTUNE).repeat()


def plain(x: np.ndarray, steps: int) -> float:
    import tensorflow as tf

    model, data = tensorflow_model(), iter(batches(x))
    compiled = tf.function(model.train_step)
    return TIMED.steps(lambda: compiled(next(data)), steps)


def fit(x: np.ndarray, steps: int) -> float:
    model, data = tensorflow_model(), batches(x)
    return TIMED.fit(model, data, steps)


def torch(x: np.ndarray, steps: int) -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    def layers(*widths: int) -> list[nn.Module]:
        return [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]

    encoder = nn.Sequential(*layers(784, *WIDTHS))
    mean, log_variance = nn.Linear(WIDTHS[-1], LATENTS), nn.Linear(WIDTHS[-1], LATENTS)
    decoder = nn.Sequential(*layers(LATENTS, *WIDTHS), nn.Linear(WIDTHS[-1], 784))
    network = nn.ModuleList([encoder, mean, log_variance, decoder])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-4, fused=True)
    examples, order = torch.from_numpy(x), torch.randperm(len(x))
    position = 0

    def step() -> None:
        nonlocal position
        intensity = examples[order[position : position + BATCH]]
        position = (position + BATCH) % (len(x) - BATCH)
        batch = (torch.rand_like(intensity) < intensity).float()
        h = encoder(batch)
        m, s = mean(h), log_variance(h)
        logits = decoder(m + torch.exp(0.5 * s) * torch.randn_like(m))
        divergence = 0.5 * (m.square() + s.exp() - s - 1.0).sum()
        loss = functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum") + divergence
        optimizer.zero_grad()
        (loss / BATCH).backward()
        optimizer.step()

    return TIMED.steps(step, steps)


if __name__ == "__main__":
    _, name, path, steps = sys.argv
    print({"plain": plain, "fit": fit, "torch": torch}[name](pixels(path), int(steps)))

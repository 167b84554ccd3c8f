"""The objective factor-vae: a discriminator of codes and permuted codes.

Kim and Mnih, "Disentangling by Factorising", 2018: equations 2 and 3, algorithms 1 and 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.contracts import Player
from vaeflow_disentangle.latents import codes_of

if TYPE_CHECKING:
    from vaeflow.contracts import Schedule, Terms
    from vaeflow_disentangle.latents import Codes

NAME = "factor-vae"
KEY = 0x5EED
"""Keys the permutations, with the step: the same on every replica."""

SLOPE = 0.2
"""Of the leaky ReLU where its input is negative."""


class FactorVAE:
    """-E log p(x given z) + penalty(KL) + gamma (the discriminator's log-odds that z are codes, not permuted codes).

    Args:
        samples: L, the samples of z per example in a training step.
        gamma: weight of the estimated total correlation.
        hidden: units of the discriminator's layers.
        rate: learning rate of the discriminator.
    """

    per_example = False

    def __init__(self, samples: int, gamma: float, hidden: tuple[int, ...], rate: float) -> None:
        self.samples, self.gamma = samples, gamma
        self.network = discriminator(hidden)
        optimizer = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.9)
        self.players = (Player("discriminator", self.network, optimizer, self.discriminator_loss),)

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        logits = self._logits(codes_of(terms, NAME).z)
        correlation = tf.reduce_mean(logits[..., 0] - logits[..., 1], axis=0)
        elbo = tf.reduce_mean(terms.log_likelihood, axis=0) - schedule.penalty(terms.kl, step)
        return self.gamma * correlation - elbo

    def discriminator_loss(self, terms: Terms, _x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return the mean cross-entropy of a code and of a permuted code for each example, [B], nats."""
        codes = codes_of(terms, NAME)
        real = tf.nn.log_softmax(self._logits(codes.z))[..., 0]
        permuted = tf.nn.log_softmax(self._logits(permute(codes, step)))[..., 1]
        return tf.reduce_mean(-0.5 * (real + permuted), axis=0)

    def _logits(self, z: tf.Tensor) -> tf.Tensor:
        """Return logits [L, B, 2] of being codes and of being permuted codes, for z [L, B, D]."""
        flat = self.network(tf.reshape(z, (-1, z.shape[-1])))
        return tf.reshape(flat, (*z.shape[:2], 2))


def discriminator(hidden: tuple[int, ...]) -> keras.Sequential:
    """Return dense layers from z [N, D] to two logits, float32 for every precision; its first call builds it."""
    layers: list[keras.layers.Layer] = []
    for units in hidden:
        layers += [keras.layers.Dense(units, dtype="float32"), keras.layers.LeakyReLU(SLOPE, dtype="float32")]
    return keras.Sequential([*layers, keras.layers.Dense(2, dtype="float32")], name="discriminator")


def permute(codes: Codes, step: tf.Tensor) -> tf.Tensor:
    """Return z [L, B, D] with each dimension permuted among the examples by a permutation of its own.

    The permutations follow from the step and the number of examples: they are the same in all microbatches and on
    all replicas, and padding does not change them. Padded rows get copies.
    """
    rows, size = codes.z.shape[1:]
    seed = tf.stack([tf.constant(KEY, tf.int64), tf.cast(step, tf.int64)])
    drawn = tf.random.stateless_uniform((rows, size), seed, alg="philox")
    beyond = tf.cast(tf.range(rows) >= tf.cast(codes.examples, tf.int32), tf.float32)
    order = tf.argsort(drawn + beyond[:, None], axis=0, stable=True)  # numbers of examples, then those of padding
    places = tf.argsort(1.0 - codes.valid, stable=True)  # the row of each example's number
    chosen = tf.gather(places, tf.gather(order, codes.rank, axis=0))  # [B, D]
    columns = [tf.gather(codes.z[..., d], chosen[:, d], axis=1) for d in range(size)]
    return tf.stack(columns, axis=-1)

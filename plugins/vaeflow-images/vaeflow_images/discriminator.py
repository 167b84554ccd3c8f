"""A patch discriminator as a second player, beside a perceptual distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.contracts import Player

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import Schedule, Terms
    from vaeflow_images.perceptual import Perceptual


class Adversarial:
    """The negative ELBO less `weight` times the discriminator's mean output for the expected x.

    The discriminator's loss is the hinge loss, max(0, 1 - d(x)) + max(0, 1 + d(expected x)), a mean over patches
    (Lim and Ye 2017; for autoencoders Esser, Rombach and Ommer 2021). With a perceptual distance, its weight times that
    of x and the expected x is added.

    Args:
        weight: of the verdict.
        start: the step from which it counts.
        widths: channels of the discriminator.
        learning_rate: of its optimizer.
        perceptual: a distance of images, or None.
        perceptual_weight: of the distance.
    """

    samples = 1

    def __init__(
        self,
        weight: float,
        start: int,
        widths: Sequence[int],
        learning_rate: float,
        *,
        perceptual: Perceptual | None = None,
        perceptual_weight: float = 1.0,
    ) -> None:
        self.weight, self.start = weight, start
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight
        self.network = patch_discriminator(widths)
        optimizer = keras.optimizers.Adam(learning_rate, beta_1=0.5)
        self.players = (Player("discriminator", self.network, optimizer, self._discriminator_loss),)

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B] nats."""
        fit = tf.reduce_mean(terms.log_likelihood, axis=0) - schedule.penalty(terms.kl, step)
        weight = tf.where(step >= self.start, self.weight, 0.0)
        loss = -fit - weight * self._verdict(terms.p_x.mean()[0])
        if self.perceptual is None:
            return loss
        return loss + self.perceptual_weight * self.perceptual(terms.x, terms.p_x.mean()[0])

    def _discriminator_loss(self, terms: Terms, x: tf.Tensor, _step: tf.Tensor) -> tf.Tensor:
        of_real, of_made = (tf.nn.relu(1.0 - self._patches(x)), tf.nn.relu(1.0 + self._patches(terms.p_x.mean()[0])))
        return tf.reduce_mean(of_real, axis=(1, 2, 3)) + tf.reduce_mean(of_made, axis=(1, 2, 3))

    def _verdict(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(self._patches(x), axis=(1, 2, 3))

    def _patches(self, x: tf.Tensor) -> tf.Tensor:
        return self.network(x)


def patch_discriminator(widths: Sequence[int]) -> keras.Sequential:
    """Return a network from [B, H, W, C] to a number for each patch, [B, h, w, 1] float32 (Isola et al. 2017).

    It has no normalization, so that it looks at one example at a time.
    """
    layers: list[keras.layers.Layer] = []
    for width in widths:
        layers += [keras.layers.Conv2D(width, 4, 2, "same", dtype="float32"), keras.layers.LeakyReLU(0.2)]
    # Within the margins of the hinge loss, the gradient of a last bias is 0: that of x and of its mean cancel.
    last = keras.layers.Conv2D(1, 3, padding="same", use_bias=False, dtype="float32")
    return keras.Sequential([*layers, last], name="discriminator")

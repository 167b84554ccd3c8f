"""The posterior and the prior of a map of codes, as distributions of the codes' vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from vaeflow_vq.codebook import Codebook
    from vaeflow_vq.priors import CodePrior


@dataclass(frozen=True)
class Quantized:
    """All probability is at one map of codes.

    Attributes:
        z: vectors of the codes, [B, h, w, D].
    """

    z: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return the same map L times, [L, B, h, w, D], for noise [L, B, 0]."""
        return tf.broadcast_to(self.z, tf.concat([tf.shape(noise)[:1], tf.shape(self.z)], axis=0))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return log q, [L, B], which is 0 at the map."""
        return tf.zeros(tf.shape(value)[:2])

    def mean(self) -> tf.Tensor:
        """Return the map, [B, h, w, D]."""
        return self.z


@dataclass(frozen=True)
class CodesFromPrior:
    """The prior's codes, as vectors of the codebook.

    Attributes:
        prior: of the codes.
        codebook: their vectors.
        table: the vectors at this step, [K, D].
        temperature: the prior's logits are divided by it in samples.
    """

    prior: CodePrior
    codebook: Codebook
    table: tf.Tensor
    temperature: float = 1.0
    mean_is_exact = False

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return log p, [L, B], nats, for vectors of codes [L, B, h, w, D]."""
        flat = tf.reshape(value, (-1, self.prior.positions, self.table.shape[-1]))
        return tf.reshape(self.prior.log_prob(self.codebook.nearest(flat, self.table)), tf.shape(value)[:2])

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return vectors of codes, [N, h, w, D], for noise [N, P]."""
        return self._maps(tf.gather(self.table, self.prior.sample(noise, self.temperature)))

    def mean(self) -> tf.Tensor:
        """Return the codes' average in training at each position, [1, h, w, D]."""
        average = tf.linalg.matvec(self.table, self.codebook.usage(), transpose_a=True)
        return self._maps(tf.tile(average[None, None], (1, self.prior.positions, 1)))

    def _maps(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.reshape(vectors, (-1, *self.prior.grid, self.table.shape[-1]))

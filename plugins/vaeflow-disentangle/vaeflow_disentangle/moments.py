"""The objective dip-vae: the covariance of latents over a microbatch.

Kumar, Sattigeri and Balakrishnan, "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations",
2018: DIP-VAE-I and DIP-VAE-II.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow_disentangle.latents import codes_of, normal_of

if TYPE_CHECKING:
    from vaeflow.contracts import Schedule, Terms
    from vaeflow_disentangle.latents import Codes

NAME = "dip-vae"


@dataclass(frozen=True)
class DisentangledPrior:
    """-E log p(x given z) + penalty(KL) + the weighted squared distance of a covariance from the identity.

    Attributes:
        samples: L, the samples of z per example in a training step.
        variant: `i` or `ii`.
        off_diagonal: weight of squared covariances.
        diagonal: weight of squared distances of variances from 1.
    """

    samples: int
    variant: str
    off_diagonal: float
    diagonal: float
    per_example = False

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        elbo = tf.reduce_mean(terms.log_likelihood, axis=0) - schedule.penalty(terms.kl, step)
        return self.penalty(covariance(codes_of(terms, NAME), self.variant)) - elbo

    def penalty(self, covariance_DD: tf.Tensor) -> tf.Tensor:
        """Return the penalty of a covariance [D, D], a scalar."""
        variances = tf.linalg.diag_part(covariance_DD)
        others = tf.linalg.set_diag(covariance_DD, tf.zeros_like(variances))
        apart = tf.reduce_sum(tf.square(variances - 1.0))
        return self.off_diagonal * tf.reduce_sum(tf.square(others)) + self.diagonal * apart


def covariance(codes: Codes, variant: str) -> tf.Tensor:
    """Return the covariance over the examples of a microbatch, [D, D], divided by their number.

    Args:
        codes: of the microbatch.
        variant: `i` for that of the posteriors' means; `ii` for that of z, which adds the mean of their variances.
    """
    weight = (codes.valid / codes.examples)[:, None]
    mean = codes.q.mean()
    centred = mean - tf.reduce_sum(weight * mean, axis=0)
    found = tf.matmul(centred, weight * centred, transpose_a=True)
    if variant == "i":
        return found
    variances = tf.exp(normal_of(codes, NAME).log_var)
    return found + tf.linalg.diag(tf.reduce_sum(weight * variances, axis=0))

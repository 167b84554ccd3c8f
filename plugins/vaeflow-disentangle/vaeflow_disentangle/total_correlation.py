"""The total correlation of latents over a microbatch, and the objective beta-tc.

Chen, Li, Grosse and Duvenaud, "Isolating Sources of Disentanglement in VAEs", 2018: equations 2 to 4, and appendix C
for the two estimators. Shapes: L samples, B rows of a microbatch, D latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from vaeflow_disentangle.latents import codes_by_group, normal_of

if TYPE_CHECKING:
    from vaeflow.contracts import Schedule, Terms
    from vaeflow_disentangle.latents import Codes

NAME = "beta-tc"
NOTHING = -1e30
"""The log-weight of padding: its exponential is 0, and no infinity reaches a gradient."""


class Densities(NamedTuple):
    """Estimated log-densities of the aggregated posterior at each sample, [L, B] nats.

    Attributes:
        joint: log q(z).
        product: the sum over dimensions of log q(z_d).
    """

    joint: tf.Tensor
    product: tf.Tensor


@dataclass(frozen=True)
class BetaTC:
    """-E log p(x given z) + penalty(KL) + (alpha - 1) MI + (beta - 1) TC + (gamma - 1) KL of dimensions.

    The three parts sum to log q(z given x) - log p(z), whose expectation is KL(q, p), so this is the paper's equation 4
    with the closed form of KL(q, p) in place of the sum of its estimated parts.

    With several groups of latents, each part is a sum over groups. For a group z_l below z_l+1, q(z_l) is the mixture
    over the microbatch of q(z_l given x, z_l+1), MI is the information of z_l and (x, z_l+1), and the divergence of
    dimensions is that from p(z_l given z_l+1). So the three parts sum to log q - log p of each group.

    Attributes:
        samples: L, the samples of z per example in a training step.
        alpha: weight of the mutual information (MI).
        beta: weight of the total correlation (TC).
        gamma: weight of the dimensions' divergences.
        stratified: the estimator of q(z); else weighted.
        examples: N, or None.
    """

    samples: int
    alpha: float
    beta: float
    gamma: float
    stratified: bool = False
    examples: int | None = None
    per_example = False

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        q = self._densities(codes_by_group(terms, NAME))
        information = terms.log_q - q.joint
        correlation = q.joint - q.product
        dimensions = q.product - terms.log_p
        more = (self.alpha - 1.0) * information + (self.beta - 1.0) * correlation + (self.gamma - 1.0) * dimensions
        return tf.reduce_mean(more - terms.log_likelihood, axis=0) + schedule.penalty(terms.kl, step)

    def _densities(self, groups: list[Codes]) -> Densities:
        """Return the sums over groups of the estimated log-densities."""
        codes = groups[0]  # the weights depend on the rows alone
        if self.stratified:
            weights = stratified_weights(codes, self.examples or 1)
        else:
            weights = weighted_weights(codes, self.examples)
        each = [densities(one, weights) for one in groups]
        return Densities(reduce(tf.add, [one.joint for one in each]), reduce(tf.add, [one.product for one in each]))


def weighted_weights(codes: Codes, examples: int | None = None) -> tf.Tensor:
    """Return the log-weights [B, B] of minibatch-weighted sampling: 1 / (N M) for M examples.

    Args:
        codes: of a microbatch.
        examples: N; None omits it, which changes each log-density by log N and no gradient.
    """
    each = -tf.math.log(codes.examples) - math.log(examples or 1)
    return _of_examples(codes, tf.fill((codes.valid.shape[0],) * 2, each))


def stratified_weights(codes: Codes, examples: int) -> tf.Tensor:
    """Return the log-weights [B, B] of minibatch-stratified sampling.

    With M + 1 examples, the weight of a sample's own example is 1 / N, that of the next one (N - M) / (N M), and that
    of the others 1 / M. They sum to 1.

    Args:
        codes: of a microbatch.
        examples: N, at least the examples of a microbatch.
    """
    total, others = float(examples), tf.maximum(codes.examples - 1.0, 1.0)
    rank, count = codes.rank, tf.cast(codes.examples, tf.int32)
    next_one = tf.equal((rank[:, None] + 1) % count, rank[None, :])
    one = tf.maximum((total - others) / (total * others), 1.0 / total)
    weights = tf.where(next_one, one, 1.0 / others)
    weights = tf.where(tf.eye(codes.valid.shape[0]) > 0.0, 1.0 / total, weights)
    return _of_examples(codes, tf.math.log(weights))


def densities(codes: Codes, log_weights: tf.Tensor) -> Densities:
    """Return log q(z) and the sum of log q(z_d) at all samples, from the posteriors of the microbatch's examples.

    Args:
        codes: of a microbatch, with a normal posterior; that of a lower group has parameters [L, B, D], given the
            samples of the groups above.
        log_weights: [B, B], of the posterior of column j in the density at the samples of row i.
    """
    q = normal_of(codes, NAME)
    mu, log_var = ((one if one.shape.rank == 2 else one[:, None]) for one in (q.mu, q.log_var))
    apart = tf.square(codes.z[:, :, None, :] - mu) * tf.exp(-log_var)
    each = -0.5 * (math.log(2.0 * math.pi) + log_var + apart)  # [L, B of samples, B of posteriors, D]
    joint = tf.reduce_logsumexp(log_weights + tf.reduce_sum(each, axis=-1), axis=2)
    product = tf.reduce_sum(tf.reduce_logsumexp(log_weights[:, :, None] + each, axis=2), axis=-1)
    return Densities(joint, product)


def _of_examples(codes: Codes, log_weights: tf.Tensor) -> tf.Tensor:
    """Return log-weights without padding; a padded row keeps itself, so that its density is finite."""
    kept = (codes.valid[None, :] + tf.eye(codes.valid.shape[0])) > 0.0
    return tf.where(kept, log_weights, NOTHING)

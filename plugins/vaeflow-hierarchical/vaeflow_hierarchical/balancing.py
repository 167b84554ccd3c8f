"""An objective that keeps groups of latents in use while the divergence is warmed up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Objective, Schedule, Terms


@dataclass(frozen=True)
class BalancedBound:
    """-E log p(x given z) + the schedule's penalty of sum_l gamma_l KL_l (Vahdat and Kautz 2020, appendix A).

    gamma_l is s_l E[KL_l], scaled so that the mean of gamma over groups is 1, without a gradient; s_l is the number of
    latents of the group, and E is over the microbatch. So a group whose divergence is small costs less than it would
    otherwise. Once the schedule's weight is 1, each gamma is 1.

    Attributes:
        samples: L, the samples of z per example in a training step.
    """

    samples: int
    per_example = False

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        import tensorflow as tf

        reconstruction = -tf.reduce_mean(terms.log_likelihood, axis=0)
        valid = tf.ones_like(reconstruction) if terms.valid is None else terms.valid
        examples = tf.maximum(tf.reduce_sum(valid), 1.0)
        names = list(terms.kl_terms)
        kl_GB = tf.stack([tf.reduce_sum(terms.kl_terms[name], axis=1) for name in names])
        # A Monte Carlo estimate may be negative; NVAE's code adds 0.01, too, so that no group is free.
        mean_G = tf.abs(tf.einsum("b,gb->g", valid, kl_GB) / examples) + 0.01
        size_G = tf.constant([math.prod(terms.z[name].shape[2:]) for name in names], tf.float32)
        gamma_G = size_G * mean_G
        gamma_G = tf.stop_gradient(gamma_G / tf.reduce_mean(gamma_G))
        gamma_G = tf.where(schedule.weight(step) < 1.0, gamma_G, tf.ones_like(gamma_G))
        return reconstruction + schedule.penalty(tf.einsum("g,gb->b", gamma_G, kl_GB), step)


def kl_balancing(*, samples: Annotated[int, Field(ge=1)] = 1) -> Objective:
    """The ELBO, whose divergence is balanced between groups of latents while the KL weight is below 1 (NVAE).

    Use it with a schedule that warms up, such as `kl_schedule=linear`: with the weight 1 it is `elbo`. The mean of the
    divergence is over the examples of a microbatch, so the weights depend on their number.

    Args:
        samples: L, the samples of z per example in a training step.
    """
    return BalancedBound(samples)

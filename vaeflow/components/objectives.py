"""Built-in objectives: compute a loss per example from the terms of the ELBO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Objective, Schedule, Terms


@dataclass(frozen=True)
class WeightedBound:
    """-E log p(x given z) + beta * penalty(KL), equation 5 with a weight.

    Attributes:
        samples: L, the samples of z per example in a training step.
        beta: weight of the divergence, in addition to the schedule's weight.
    """

    samples: int
    beta: float

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        from vaeflow.model import elbo

        reconstruction = -elbo.expected_log_likelihood(terms.log_likelihood)
        return reconstruction + self.beta * schedule.penalty(terms.kl, step)


@dataclass(frozen=True)
class ImportanceWeightedBound:
    """-log of the mean over samples of p(x given z) (p(z) / q(z given x))^w (Burda et al. 2016, equation 8, if w = 1).

    Attributes:
        samples: k, the samples of z per example in a training step.
        gradient: `total`, `sticking-the-landing` or `doubly-reparameterized`.
    """

    samples: int
    gradient: str
    kl_weight_only = True

    @property
    def path_gradient(self) -> bool:
        """Whether log q has no gradient but through z."""
        return self.gradient != "total"

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        import tensorflow as tf

        weight = schedule.weight(step)
        log_weights = terms.log_likelihood - weight * (terms.log_q - terms.log_p)
        if terms.path is not None and self.gradient == "doubly-reparameterized":
            # Normalized weights v multiply the gradient of log w. Its part through the density q, -v w d log q, has the
            # mean of -w (v - v^2) d log w through z. So v becomes v - w (v - v^2): with w = 1, v^2 as in the paper.
            terms.path.weigh(1.0 - weight + weight * tf.nn.softmax(log_weights, axis=0))
        return math.log(self.samples) - tf.reduce_logsumexp(log_weights, axis=0)


@dataclass(frozen=True)
class FreeBits:
    """-E log p(x given z) + the sum over groups, or dimensions, of max(nats, mean of KL over the microbatch).

    Attributes:
        samples: L, the samples of z per example in a training step.
        nats: below which a divergence costs nothing more.
        per: `dimension` or `group`.
    """

    samples: int
    nats: float
    per: str
    per_example = False

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        import tensorflow as tf

        from vaeflow.model import elbo

        reconstruction = -elbo.expected_log_likelihood(terms.log_likelihood)
        valid = tf.ones_like(reconstruction) if terms.valid is None else terms.valid
        examples, cost = tf.maximum(tf.reduce_sum(valid), 1.0), tf.zeros_like(reconstruction)
        for kl in terms.kl_terms.values():
            parts = kl if self.per == "dimension" else tf.reduce_sum(kl, axis=1, keepdims=True)
            mean = tf.einsum("b,bk->k", valid, parts) / examples
            cost += tf.reduce_sum(tf.maximum(self.nats, mean))
        return reconstruction + schedule.penalty(cost, step)


@dataclass(frozen=True)
class InfoVAE:
    """-E log p(x given z) + (1 - alpha) KL(q, p) + (alpha + scale - 1) MMD(q(z), p(z)) (Zhao et al. 2019, equation 6).

    Attributes:
        samples: L, the samples of z per example in a training step.
        alpha: weight of the mutual information of x and z.
        scale: lambda, the weight of the aggregated posterior's divergence.
    """

    samples: int
    alpha: float
    scale: float
    per_example = False

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats."""
        from vaeflow.components.mean_discrepancy import discrepancy_of
        from vaeflow.model import elbo

        reconstruction = -elbo.expected_log_likelihood(terms.log_likelihood)
        divergence = (1.0 - self.alpha) * schedule.penalty(terms.kl, step)
        return reconstruction + divergence + (self.alpha + self.scale - 1.0) * discrepancy_of(terms, step)


Samples = Annotated[int, Field(ge=1)]


def elbo(*, samples: Samples = 1) -> Objective:
    """The evidence lower bound of the article (equation 6); its negative is the loss.

    Args:
        samples: L, the samples of z per example in a training step.
    """
    return WeightedBound(samples, beta=1.0)


def beta_vae(*, beta: Annotated[float, Field(ge=0)] = 4.0, samples: Samples = 1) -> Objective:
    """The beta-VAE (Higgins et al. 2017): the KL divergence is multiplied by beta.

    Args:
        beta: weight of the KL divergence; the logged ELBO is unweighted.
        samples: L, the samples of z per example in a training step.
    """
    return WeightedBound(samples, beta)


def iwae(
    *,
    samples: Samples = 5,
    gradient: Literal["total", "sticking-the-landing", "doubly-reparameterized"] = "total",
) -> Objective:
    """The importance weighted bound (Burda et al. 2016): tighter than the ELBO, and more so with more samples.

    The other gradients of the posterior have less variance: that of `sticking-the-landing` (Roeder et al. 2017) is
    biased with several samples, that of `doubly-reparameterized` (Tucker et al. 2019) is not. The KL weight multiplies
    log q - log p of each sample, so only with 1 is the loss a bound of log p(x); with one sample it is the weighted
    ELBO, estimated by that sample. `kl_schedule=capacity` has no such weight and is refused.

    Args:
        samples: k, the samples of z per example in a training step.
        gradient: of the posterior's weights.
    """
    return ImportanceWeightedBound(samples, gradient)


def free_bits(
    *, nats: Annotated[float, Field(ge=0)] = 0.5, per: Literal["dimension", "group"] = "dimension", samples: Samples = 1
) -> Objective:
    """The ELBO with free bits (Kingma et al. 2016, equation 15): a small divergence costs as much as none.

    The mean of the divergence is over the examples of a microbatch, so the weights depend on their number.

    Args:
        nats: lambda; a divergence below it is not reduced further.
        per: each dimension of the latents has these nats, or each group of latents.
        samples: L, the samples of z per example in a training step.
    """
    return FreeBits(samples, nats, per)


def info_vae(
    *,
    alpha: Annotated[float, Field(le=1)] = 0.0,
    scale: Annotated[float, Field(ge=0)] = 10.0,
    samples: Samples = 1,
) -> Objective:
    """The InfoVAE (Zhao et al. 2019), with a maximum mean discrepancy between the posteriors of a microbatch and p(z).

    It compares examples, so the weights depend on the number of microbatches. With alpha = 1 it is the MMD-VAE. The
    model must have one group of latents, a vector.

    Args:
        alpha: weight of the mutual information of x and z; with 0 the divergence has its full weight.
        scale: lambda of the paper; alpha + scale must be 1 or more, or the discrepancy would be rewarded.
        samples: L, the samples of z per example in a training step.
    """
    if alpha + scale < 1.0:
        raise UsageError(
            f"objective info-vae: alpha = {alpha:g} and scale = {scale:g} give the discrepancy the weight "
            f"alpha + scale - 1 = {alpha + scale - 1.0:g}; it must be 0 or more"
        )
    return InfoVAE(samples, alpha, scale)

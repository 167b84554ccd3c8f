"""Built-in objectives: compute a loss per example from the terms of the ELBO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

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

"""Distributions over latents and data, and the components that make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import tensorflow as tf


class Distribution(Protocol):
    """A distribution over latents (or data) that computes samples from given noise."""

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return a sample as a deterministic function of the noise (equation 9 of the article)."""

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of each value, summed over all but the leading axes, in nats."""

    def mean(self) -> tf.Tensor:
        """Return the mean (for plots, active units and reconstructions), or a point near it if it is unknown."""


class Posterior(Protocol):
    """q(z given x). Usually a Keras layer that owns the heads on top of the encoder's features."""

    @property
    def noise_size(self) -> int:
        """Number of standard normal random numbers per sample and example."""

    def distribution(self, features: tf.Tensor) -> Distribution:
        """Return q(z given x) for features [B, F]; `sample` takes noise [L, B, noise_size] to z [L, B, D].

        It may have a method `sample_and_log_prob` from noise to z and log q(z given x) [L, B], see
        `vaeflow.model.elbo.draw`; `log_prob` is not called then. It may have a method `kl_terms(p)`, which is
        called before the prior's, see `vaeflow.model.elbo.closed_form_kl_terms`. An attribute
        `mean_is_exact = False` declares that `mean` is only near the mean.
        """


class Prior(Distribution, Protocol):
    """p(z). `sample` takes standard normal noise [..., D]; `log_prob` takes z [..., D] to [...]."""

    def kl_terms(self, q: Distribution) -> tf.Tensor | None:
        """Return terms [B, K] that sum over K to KL(q, p) in nats, or None if no closed form is known.

        K is D if the divergence is a sum over latent dimensions, else 1.
        """


class ConditionalPrior(Protocol):
    """A prior of kind prior may have this method too: then it depends on the labels of a conditional model."""

    def given(self, labels: tf.Tensor) -> Prior:
        """Return p(z given the label) for one-hot labels [..., C] float32."""


@dataclass(frozen=True)
class PriorContext:
    """What a prior may use of the model that it belongs to.

    Attributes:
        x_shape: X, the shape of one example.
        classes: C, the number of labels of a conditional model; 0 if it gets none.
        posterior_of: takes x [K, *X] to q(z given x), with the model's own encoder and posterior as in evaluations. A
            conditional model also needs `labels=`, one-hot [K, C].
    """

    x_shape: tuple[int, ...]
    classes: int
    posterior_of: Callable[..., Distribution]


class ConnectedPrior(Protocol):
    """A prior of kind prior may have this method too: then it gets what it needs of its model."""

    def connect(self, context: PriorContext) -> None:
        """Store the context and create weights. The model calls it once, before it uses the prior.

        Raises:
            UsageError: if the prior can't be used in this model.
        """


class StartsFromExamples(Protocol):
    """What a part of a model, such as a prior, may have too: initial weights that are computed from examples."""

    @property
    def start_examples(self) -> int:
        """K, the number of examples; 0 for none."""

    def start(self, examples: tf.Tensor) -> None:
        """Set the initial weights. It is called once, before the first step, and the same on every rank.

        Args:
            examples: K training examples that the seed chooses, [K, *X], as the model gets them in evaluations.
        """


class Likelihood(Protocol):
    """p(x given z), from a decoder's outputs."""

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P: the shape of the decoder's output for one example."""

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Return p(x given z) for parameters [..., *P].

        `log_prob` takes x [B, *X] to [..., B]; `sample` takes uniform noise in (0, 1) of shape [..., *X]. An attribute
        `mean_is_exact = False` declares that `mean` is only near the mean.
        """

"""The interface of each kind of component, as typing protocols.

Shapes: B examples, L samples, D latent size, F features, X the shape of one example, P the shape of
a likelihood's parameters for one example. Log-densities are always float32 and in nats, for every
precision of the networks. This module does not import TensorFlow at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclass(frozen=True)
class Timeline:
    """The length of a run, for schedules that count in epochs or end with the run.

    Attributes:
        steps_per_epoch: optimizer steps in one pass over the training examples.
        total_steps: optimizer steps of the whole run.
    """

    steps_per_epoch: int
    total_steps: int


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


class Terms(NamedTuple):
    """The results of one forward pass for L samples of B examples.

    Attributes:
        log_likelihood: log p(x given z), [L, B], nats.
        kl: KL(q, p), [B], nats, closed form or Monte Carlo.
        kl_terms: [B, K], the terms of the sum `kl`; K is 1 if it is a Monte Carlo estimate.
        z: the latents, [L, B, D].
        log_q: log q(z given x) of these latents, [L, B], nats.
        q: the posterior.
        p: the prior.
        p_x: p(x given z), over [L, B].
    """

    log_likelihood: tf.Tensor
    kl: tf.Tensor
    kl_terms: tf.Tensor
    z: tf.Tensor
    log_q: tf.Tensor
    q: Distribution
    p: Prior
    p_x: Distribution


class Schedule(Protocol):
    """The weight of the KL divergence in the loss over training."""

    def weight(self, step: tf.Tensor) -> tf.Tensor:
        """Return the scalar float32 weight of the divergence at a step (for the log)."""

    def penalty(self, kl: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return the contribution of KL(q, p) [B] to the loss of each example at a step, [B], nats."""


class Objective(Protocol):
    """Computes a loss from the terms of the ELBO."""

    @property
    def samples(self) -> int:
        """L, the samples of z per example in a training step."""

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats; the engine differentiates its sum."""


class Transform(Protocol):
    """Transforms stored pixels on the device, before binarization."""

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X of its output, for one example."""

    @property
    def noise(self) -> str:
        """The uniform noise that it needs: 'none', 'step' (new at each step) or 'example' (fixed per example)."""

    @property
    def noise_size(self) -> int:
        """Number of uniform random numbers per example; 0 if it needs none."""

    @property
    def training_only(self) -> bool:
        """Whether it is skipped in evaluations and plots, as augmentations are."""

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return pixels [B, *X] float32 for pixels [B, *X of what comes before] and noise [B, noise_size] in (0, 1)."""


class Metric(Protocol):
    """A value per example, whose mean over a split is logged as `SPLIT/NAME` after each evaluation."""

    def __call__(self, x: tf.Tensor, terms: Terms) -> tf.Tensor:
        """Return [B] float32 for examples x [B, *X] and the results of one forward pass; do not sum over B."""


class Binarization(Protocol):
    """Turns stored pixels into x."""

    @property
    def noise(self) -> str:
        """The uniform noise that it needs: 'none', 'step' (new at each step) or 'example' (fixed per example)."""

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return x [B, *X] float32 for pixels in [0, 1] and uniform noise of the same shape."""


class LazyArray(Protocol):
    """Examples [N, *X] that are computed, or read from somewhere, when they are indexed.

    Reading is a pure function of the index: the same example has the same bytes in every process and at every time,
    whichever examples are read with it. It is called by several threads.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the examples, uint8 or float32."""

    @property
    def nbytes(self) -> int:
        """Bytes of all examples, as if they were held in memory."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """Return examples as an array: [*X] for an integer, [B, *X] for a slice or for indices [B] in any order."""


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        x: [N, *X], uint8 (divided by 255 on the device) or float32: an array, a memory map, or a `LazyArray`, which is
            read once into the device's memory if it has at most 2 GiB and fits, else by each step for its examples.
        y: [N] integers, or None if there are no labels.
    """

    x: np.ndarray | LazyArray
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Dataset:
    """A data set as stored, before binarization.

    Attributes:
        name: the component's name.
        train: training examples.
        validation: held-out examples for decisions during training, or None.
        test: examples for the final metrics, or None.
        source: one line about the origin of the data.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    source: str

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X, the shape of one example."""
        return tuple(self.train.x.shape[1:])

    def splits(self) -> dict[str, Split]:
        """Return the existing splits by name, in the order train, validation, test."""
        all_three = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in all_three.items() if split is not None}

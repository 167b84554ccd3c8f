"""A latent-variable model: what the engine, evaluations, plots and logs need of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras
    import tensorflow as tf

    from vaeflow.plugins.contracts.distributions import Distribution, Likelihood, Posterior, Prior
    from vaeflow.plugins.contracts.terms import Terms


@dataclass(frozen=True)
class LatentGroup:
    """Latents that are drawn together.

    Attributes:
        name: in logs and plots; letters, digits, hyphens and underscores.
        shape: of one example's latents.
        noise_size: standard normal numbers per sample and example that the posterior needs.
        deterministic: whether the posterior is a code without noise; only then `noise_size` may be 0.
        prior_noise_size: standard normal numbers per sample that the prior needs; None means `noise_size`.

    >>> LatentGroup("z", (2,), 2).generation_noise_size
    2
    """

    name: str
    shape: tuple[int, ...]
    noise_size: int
    deterministic: bool = False
    prior_noise_size: int | None = None

    @property
    def generation_noise_size(self) -> int:
        """Standard normal numbers per sample that the prior needs."""
        return self.noise_size if self.prior_noise_size is None else self.prior_noise_size


class LatentVariableModel(Protocol):
    """A model with one or more groups of latents: a `keras.Model` with these members.

    Labels are one-hot [B, C] float32 if the config has `condition.labels = true`, else None.
    """

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables, as of every `keras.Model`."""

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Those that the optimizer changes, as of every `keras.Model`."""

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """The state of layers, as of every `keras.Model`."""

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X, the shape of one example."""

    @property
    def latents(self) -> tuple[LatentGroup, ...]:
        """The groups of latents, from the top down: each may depend on those before it."""

    @property
    def parts(self) -> Mapping[str, Any]:
        """The layers and objects that own the weights, by the name that logs and errors have for them."""

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        valid: tf.Tensor | None = None,
        training: bool = False,
    ) -> Terms:
        """Return the terms of the ELBO.

        Args:
            x: [B, *X] float32.
            noise: standard normal, [L, B, N], N the sum of the groups' `noise_size`: a slice for each group, in their
                order, see `vaeflow.model.latents.split_noise`.
            labels: of the examples.
            valid: [B] float32, 1 for an example and 0 for padding; for what looks at several examples.
            training: the mode of the layers.
        """

    def generate(self, noise: tf.Tensor, *, labels: tf.Tensor | None = None, temperature: float = 1.0) -> Distribution:
        """Return p(x given z) for z from the prior.

        Args:
            noise: standard normal, [B, N], N the sum of the groups' `generation_noise_size`, a slice for each group.
            labels: of the examples.
            temperature: factor of the noise, or what corresponds to it; 1 is the prior.
        """

    def encode(self, x: tf.Tensor, *, labels: tf.Tensor | None = None) -> Mapping[str, tf.Tensor]:
        """Return the posterior's means (or codes) by group, [B, *shape], for x [B, *X].

        The mean of a group is that given the means of the groups above it.
        """

    def decode(self, z: Mapping[str, tf.Tensor], *, labels: tf.Tensor | None = None) -> Distribution:
        """Return p(x given z) for latents by group, [B, *shape]."""


class Parts(Protocol):
    """Builds the components that the config selects beside the model; each call builds a new one.

    A model's `Component` declares in `uses` which it calls.
    """

    def encoder(self, x_shape: tuple[int, ...]) -> keras.Model:
        """Return the encoder for examples of a shape."""

    def posterior(self, latent_size: int) -> Posterior:
        """Return the posterior."""

    def prior(self, latent_size: int) -> Prior:
        """Return the prior."""

    def decoder(self, latent_size: int, output_shape: tuple[int, ...]) -> keras.Model:
        """Return the decoder to parameters of a shape."""

    def likelihood(self, x_shape: tuple[int, ...]) -> Likelihood:
        """Return the likelihood of examples of a shape."""


@dataclass(frozen=True)
class ModelContext:
    """What a model is built from.

    Attributes:
        x_shape: X, the shape of one example.
        latent_size: D of the config; 0 if the component's `uses` does not have it.
        classes: C, the number of labels of a conditional model; 0 if it gets none.
        parts: builds the config's encoder, posterior, prior, decoder and likelihood.
    """

    x_shape: tuple[int, ...]
    latent_size: int
    classes: int
    parts: Parts

"""A variational autoencoder whose latents are a map."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.saved import SavedByArguments
from vaeflow_images import networks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.contracts import Distribution, Likelihood

GROUP = "z"


@dataclass(frozen=True)
class Maps:
    """A distribution of vectors [D], as one of maps with D elements.

    Attributes:
        flat: of vectors.
        shape: of a map.
    """

    flat: Distribution
    shape: tuple[int, ...]

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return maps [..., h, w, C] for noise [..., D]."""
        return self._map(self.flat.sample(noise))

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return the log-density of maps [..., h, w, C], [...] in nats."""
        return self.flat.log_prob(tf.reshape(value, tf.concat([tf.shape(value)[:-3], (prod(self.shape),)], axis=0)))

    def mean(self) -> tf.Tensor:
        """Return the mean as maps."""
        return self._map(self.flat.mean())

    def _map(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.reshape(vectors, tf.concat([tf.shape(vectors)[:-1], self.shape], axis=0))


@keras.saving.register_keras_serializable(package="vaeflow_images")
class AutoencoderKL(SavedByArguments):
    """q(z given x) is a diagonal Gaussian over maps [h, w, C], p(z) is standard normal.

    Args:
        likelihood: of examples.
        x_shape: [H, W, C of the image].
        channels: C of the latents.
        widths: channels of the convolutions at each size, from the image to the latents.
        blocks: residual blocks at each size.
    """

    def __init__(
        self, likelihood: Likelihood, x_shape: tuple[int, ...], channels: int, widths: Sequence[int], blocks: int
    ) -> None:
        super().__init__(name="autoencoder_kl")
        self.likelihood, self.x_shape = likelihood, tuple(x_shape)
        self._sizes = {"channels": channels, "widths": list(widths), "blocks": blocks}
        grid = tuple(side >> (len(widths) - 1) for side in x_shape[:2])
        self.z_shape = (*grid, channels)
        size = prod(self.z_shape)
        self.latents = (LatentGroup(GROUP, self.z_shape, size),)
        self.encoder = networks.to_map(self.x_shape, 2 * channels, widths, blocks)
        self.decoder = networks.from_map(self.z_shape, likelihood.parameters_shape, widths[::-1], blocks)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"likelihood": self.likelihood, "x_shape": list(self.x_shape), **self._sizes}

    @property
    def parts(self) -> dict[str, object]:
        """The owners of the weights."""
        return {name: getattr(self, name) for name in ("encoder", "decoder", "likelihood")}

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,  # noqa: ARG002  # it takes none
        valid: tf.Tensor | None = None,  # noqa: ARG002  # it looks at one example at a time
        training: bool = False,
    ) -> Terms:
        """Return the terms of the ELBO."""
        flat, prior = self._posterior(x, training=training), StandardNormal(prod(self.z_shape))
        q, p = Maps(flat, self.z_shape), Maps(prior, self.z_shape)
        z = q.sample(noise)
        p_x = self._decoded(z, training=training)
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={GROUP: prior.kl_terms(flat)},
            z={GROUP: z},
            log_q=q.log_prob(z),
            q={GROUP: q},
            p={GROUP: p},
            p_x=p_x,
        )

    def generate(self, noise: tf.Tensor, *, labels: tf.Tensor | None = None, temperature: float = 1.0) -> Distribution:  # noqa: ARG002
        """Return p(x given z) for z from the prior, whose noise is multiplied by the temperature."""
        return self._decoded(tf.reshape(temperature * noise, (-1, *self.z_shape)))

    def encode(self, x: tf.Tensor, *, labels: tf.Tensor | None = None) -> dict[str, tf.Tensor]:  # noqa: ARG002
        """Return the posterior's means, [B, h, w, C]."""
        return {GROUP: Maps(self._posterior(x), self.z_shape).mean()}

    def decode(self, z: Mapping[str, tf.Tensor], *, labels: tf.Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Return p(x given z) for latents [B, h, w, C]."""
        return self._decoded(z[GROUP])

    def _posterior(self, x: tf.Tensor, *, training: bool = False) -> DiagonalNormal:
        mean, log_var = tf.split(self.encoder(x, training=training), 2, axis=-1)
        return DiagonalNormal(*(tf.reshape(one, (-1, prod(self.z_shape))) for one in (mean, log_var)))

    def _decoded(self, z: tf.Tensor, *, training: bool = False) -> Distribution:
        """Return p(x given z) over the leading axes of z [..., h, w, C]."""
        outputs = self.decoder(tf.reshape(z, (-1, *self.z_shape)), training=training)
        shape = tf.concat([tf.shape(z)[:-3], self.likelihood.parameters_shape], axis=0)
        return self.likelihood.distribution(tf.reshape(outputs, shape))

"""Layers of latents in a chain, z_L to z_1 to x, inferred from the bottom up."""

from __future__ import annotations

import math
from functools import partial, reduce
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.latents import split_noise
from vaeflow_hierarchical.levels import LevelsModel
from vaeflow_hierarchical.networks import dense, flat, likelihood_of, mean_over_samples, normal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.contracts import Distribution, Likelihood
    from vaeflow_hierarchical.models import Level


@keras.saving.register_keras_serializable(package="vaeflow_hierarchical")
class StochasticLayers(LevelsModel):
    """Latents z1 (next to x) to zL, a `vaeflow.contracts.LatentVariableModel`, of Burda et al. 2015.

    Args:
        x_shape: X, the shape of one example.
        likelihood: parameters to p(x given z1).
        levels: from x up.
        activation: of the hidden layers.
        batch_norm: whether hidden layers are normalized.
        classes: C; labels are then beside the inputs of each network. Else 0.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        likelihood: Likelihood,
        levels: Sequence[Level],
        activation: str,
        *,
        batch_norm: bool,
        classes: int = 0,
    ) -> None:
        name = "stochastic_layers"
        super().__init__(name, x_shape, likelihood, levels, activation, batch_norm=batch_norm, classes=classes)
        sizes = [math.prod(x_shape), *(level.latent_size for level in levels)]
        self.names = [f"z{number}" for number in range(1, len(sizes))]
        groups = zip(reversed(self.names), reversed(sizes), strict=False)
        self.latents = tuple(LatentGroup(name, (size,), size) for name, size in groups)
        below = [math.prod(likelihood.parameters_shape), *(2 * size for size in sizes[1:-1])]
        network = partial(dense, activation=activation, batch_norm=batch_norm)
        self.up = [
            network(low + classes, level.hidden, 2 * high, name=f"q_z{number}", from_latents=number > 1)
            for number, ((low, high), level) in enumerate(zip(pairwise(sizes), levels, strict=True), start=1)
        ]
        self.down = [
            network(level.latent_size + classes, level.hidden[::-1], outputs, name=f"p_{name}")
            for level, outputs, name in zip(levels, below, ["x", *self.names], strict=False)
        ]

    @property
    def parts(self) -> Mapping[str, Any]:
        """The networks of q and p by the name of what they give, and the likelihood."""
        networks = {network.name: network for network in (*self.up, *self.down)}
        return MappingProxyType({**networks, "likelihood": self.likelihood})

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        valid: tf.Tensor | None = None,  # noqa: ARG002  # vaeflow excludes padding from batch normalization
        training: bool = False,
    ) -> Terms:
        """Return the terms of the ELBO for x [B, *X] and standard normal noise [L, B, N]."""
        own, h = split_noise(noise, self.latents), flat(x, self.x_shape)
        q, z = {}, {}
        for name, network in zip(self.names, self.up, strict=True):
            q[name] = normal(network, h, labels=labels, training=training)
            z[name] = h = q[name].sample(own[name])
        p = self._priors(z, labels, training=training)
        p_x = likelihood_of(self.likelihood, self.down[0], z["z1"], labels=labels, training=training)
        order = [group.name for group in self.latents]
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={name: self._kl_terms(q[name], p[name], z[name]) for name in order},
            z={name: z[name] for name in order},
            log_q=reduce(tf.add, [q[name].log_prob(z[name]) for name in order]),
            q={name: q[name] for name in order},
            p={name: p[name] for name in order},
            p_x=p_x,
        )

    def _priors(
        self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None, *, training: bool
    ) -> dict[str, Distribution]:
        """Return p(z_l given z_l+1) by name, and p(z_L), the standard normal distribution."""
        top = self.latents[0]
        given = zip(self.names, self.names[1:], self.down[1:], strict=False)
        priors: dict[str, Distribution] = {
            low: normal(network, z[high], labels=labels, training=training) for low, high, network in given
        }
        return {**priors, top.name: StandardNormal(*top.shape)}

    @staticmethod
    def _kl_terms(q: DiagonalNormal, p: Distribution, z: tf.Tensor) -> tf.Tensor:
        """Return a group's terms of KL(q, p), [B, D] nats: in closed form at the top, elsewhere by the samples.

        Below the top, z_l+1 depends on z_l, so that the divergence given one z_l+1 is not the one that is needed.
        """
        if isinstance(p, StandardNormal):
            return mean_over_samples(p.kl_terms(q))
        if not isinstance(p, DiagonalNormal):
            raise TypeError(f"the prior of a lower layer is a DiagonalNormal, not {type(p).__name__}")
        of_q = q.log_var + tf.square(z - q.mu) * tf.exp(-q.log_var)
        of_p = p.log_var + tf.square(z - p.mu) * tf.exp(-p.log_var)
        return mean_over_samples(0.5 * (of_p - of_q))

    def generate(
        self,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        temperature: float = 1.0,
    ) -> Distribution:
        """Return p(x given z) for z from the prior, for noise [B, N]."""
        own = split_noise(noise * temperature, self.latents, generating=True)
        z = own[self.latents[0].name]
        for group, network in zip(self.latents[1:], reversed(self.down[1:]), strict=True):
            z = normal(network, z, labels=labels).sample(own[group.name])
        return likelihood_of(self.likelihood, self.down[0], z, labels=labels)

    def encode(
        self,
        x: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return means by group, [B, D] each, for x [B, *X]: of a layer, given the mean of the layer below."""
        means, h = {}, flat(x, self.x_shape)
        for name, network in zip(self.names, self.up, strict=True):
            means[name] = h = normal(network, h, labels=labels).mean()
        return {group.name: means[group.name] for group in self.latents}

    def decode(
        self,
        z: Mapping[str, tf.Tensor],
        *,
        labels: tf.Tensor | None = None,
    ) -> Distribution:
        """Return p(x given z) for latents by group, which depends on z1 alone."""
        return likelihood_of(self.likelihood, self.down[0], z["z1"], labels=labels)

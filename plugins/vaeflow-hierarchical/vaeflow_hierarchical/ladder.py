"""The ladder VAE: a posterior from the top down that corrects the prior by what the features of x say."""

from __future__ import annotations

import math
from functools import partial, reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.distributions import DiagonalNormal, StandardNormal, diagonal_normal_kl
from vaeflow.model.latents import beside_labels, split_noise
from vaeflow_hierarchical.levels import LevelsModel
from vaeflow_hierarchical.networks import dense, flat, likelihood_of, mean_over_samples, over_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaeflow.contracts import Distribution, Likelihood
    from vaeflow_hierarchical.models import Level

    Choose = Callable[[LatentGroup, DiagonalNormal], tf.Tensor]

SMALLEST = 1e-4
"""Added to each variance, so that precisions are at most 10,000."""


@keras.saving.register_keras_serializable(package="vaeflow_hierarchical")
class Ladder(LevelsModel):
    """Latents z1 (next to x) to zL, a `vaeflow.contracts.LatentVariableModel`: Sonderby et al. 2016, section 2.

    Args:
        x_shape: X, the shape of one example.
        likelihood: parameters to p(x given z1).
        levels: from x up.
        activation: of the hidden layers.
        batch_norm: whether hidden layers are normalized.
        classes: C; labels are then beside x and the inputs of the networks of p. Else 0.
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
        super().__init__("ladder", x_shape, likelihood, levels, activation, batch_norm=batch_norm, classes=classes)
        names = [f"z{number}" for number in range(1, len(levels) + 1)]
        sizes = [level.latent_size for level in levels]
        self.latents = tuple(LatentGroup(n, (d,), d) for n, d in zip(reversed(names), reversed(sizes), strict=True))

        inputs = [math.prod(x_shape) + classes]
        inputs += [level.hidden[-1] if level.hidden else inputs[-1] for level in levels]
        outputs = [math.prod(likelihood.parameters_shape), *(2 * size for size in sizes[:-1])]
        network = partial(dense, activation=activation, batch_norm=batch_norm)
        self.up, self.heads, self.down = {}, {}, {}
        for number, (name, level) in enumerate(zip(names, levels, strict=True)):
            low, high = inputs[number : number + 2]
            hidden, size = level.hidden, level.latent_size
            self.up[name] = network(low, hidden, None, name=f"d{number + 1}", from_latents=False)
            self.heads[name] = network(high, (), 2 * size, name=f"q_{name}", from_latents=False)
            of = names[number - 1] if number else "x"
            self.down[of] = network(size + classes, hidden[::-1], outputs[number], name=f"p_{of}")

    @property
    def parts(self) -> Mapping[str, Any]:
        """The networks by what they compute: features d, heads of q, the networks of p; and the likelihood."""
        networks = {n.name: n for group in (self.up, self.heads, self.down) for n in group.values()}
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
        own = split_noise(noise, self.latents)
        q, p, z = self._infer(x, lambda group, q: q.sample(own[group.name]), labels, training=training)
        p_x = likelihood_of(self.likelihood, self.down["x"], z["z1"], labels=labels, training=training)
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={name: _kl_terms(q[name], p[name]) for name in z},
            z=z,
            log_q=reduce(tf.add, [q[name].log_prob(z[name]) for name in z]),
            q=q,
            p=p,
            p_x=p_x,
        )

    def _infer(
        self, x: tf.Tensor, choose: Choose, labels: tf.Tensor | None, *, training: bool
    ) -> tuple[dict[str, DiagonalNormal], dict[str, Distribution], dict[str, tf.Tensor]]:
        """Return q, p and z by group, from the top down; `choose` takes z from a group's q."""
        from_x, top = self._from_x(x, labels, training=training), self.latents[0]
        q: dict[str, DiagonalNormal] = {top.name: from_x[top.name]}
        p: dict[str, Distribution] = {top.name: StandardNormal(*top.shape)}
        z: dict[str, tf.Tensor] = {}
        z[top.name] = above = choose(top, q[top.name])
        for group in self.latents[1:]:
            name = group.name
            p[name] = prior = _normal(self.down[name], above, labels=labels, training=training)
            q[name] = combined(from_x[name], prior)
            z[name] = above = choose(group, q[name])
        return q, p, z

    def _from_x(self, x: tf.Tensor, labels: tf.Tensor | None, *, training: bool) -> dict[str, DiagonalNormal]:
        """Return the Gaussian of each layer from the features of x and its label alone, [B, D]."""
        h, found = beside_labels(flat(x, self.x_shape), labels), {}
        for name, network in self.up.items():
            h = over_samples(network, h, training=training)
            found[name] = _normal(self.heads[name], h, training=training)
        return found

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
        for group in self.latents[1:]:
            z = _normal(self.down[group.name], z, labels=labels).sample(own[group.name])
        return self.decode({"z1": z}, labels=labels)

    def encode(
        self,
        x: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return the means by group, [B, D] each, for x [B, *X]."""
        return self._infer(x, lambda _, q: q.mean(), labels, training=False)[2]

    def decode(
        self,
        z: Mapping[str, tf.Tensor],
        *,
        labels: tf.Tensor | None = None,
    ) -> Distribution:
        """Return p(x given z) for latents by group, which depends on z1 alone."""
        return likelihood_of(self.likelihood, self.down["x"], z["z1"], labels=labels)


def combined(first: DiagonalNormal, second: DiagonalNormal) -> DiagonalNormal:
    """Return the normalized product of two normal densities, [..., D]: Sonderby et al. 2016, section 2.

    Precisions (inverse variances) are added, and the mean is that of the two means, weighted by the precisions.
    """
    first_precision, second_precision = tf.exp(-first.log_var), tf.exp(-second.log_var)
    precision = first_precision + second_precision
    mu = (first.mu * first_precision + second.mu * second_precision) / precision
    return DiagonalNormal(mu, -tf.math.log(precision))


def _normal(
    network: keras.Model, h: tf.Tensor, *, labels: tf.Tensor | None = None, training: bool = False
) -> DiagonalNormal:
    """Return N(mu, sigma^2), [..., D], of a network whose outputs are mu and, by softplus, sigma^2."""
    mu, variance = tf.split(over_samples(network, h, labels=labels, training=training), 2, axis=-1)
    return DiagonalNormal(mu, tf.math.log(tf.math.softplus(variance) + SMALLEST))


def _kl_terms(q: DiagonalNormal, p: Distribution) -> tf.Tensor:
    """Return KL(q, p) given the groups above, [B, D] nats: in closed form, averaged over the samples of those."""
    terms = diagonal_normal_kl(q, p) if isinstance(p, DiagonalNormal) else StandardNormal(0).kl_terms(q)
    return mean_over_samples(terms)

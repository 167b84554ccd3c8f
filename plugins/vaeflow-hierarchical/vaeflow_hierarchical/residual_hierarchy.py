"""Groups of latent maps in a residual network from the top down, with posteriors relative to the priors."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.distributions import diagonal_normal_kl
from vaeflow.model.latents import beside_labels, maps_of, split_noise
from vaeflow.model.saved import SavedByArguments
from vaeflow_hierarchical.maps import FULL, ClassMaps, NormalMaps, Start, block, conv, repeated, upsampled, with_lead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaeflow.contracts import Distribution, Likelihood

LIMIT = 5.0
"""Log-variances of the prior, and of a posterior relative to it, are between -LIMIT and LIMIT."""


@keras.saving.register_keras_serializable(package="vaeflow_hierarchical")
class ResidualHierarchy(SavedByArguments):
    """Groups of latent maps, from coarse to fine, a `vaeflow.contracts.LatentVariableModel`.

    Residual normal posteriors: Vahdat and Kautz, "NVAE", 2020, section 3.2. Blocks from the top down: Child, "Very Deep
    VAEs", 2021, section 3 and figure 3.

    Args:
        x_shape: (H, W, C).
        likelihood: its parameters are [H, W, ...].
        groups: groups per resolution, from the coarsest up to (H / 2, W / 2).
        channels: of each group's maps.
        width: channels of the network.
        classes: C; labels are then maps beside x, and the network from the top down begins with a map of the class.
            Else 0.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        likelihood: Likelihood,
        groups: Sequence[int],
        channels: int,
        width: int,
        *,
        classes: int = 0,
    ) -> None:
        super().__init__(name="residual_hierarchy")
        self.x_shape = tuple(x_shape)
        self.likelihood = likelihood
        self.classes = classes
        self._sizes = {"groups": list(groups), "channels": channels, "width": width}
        height, long = x_shape[:2]
        sides = [(height >> level, long >> level) for level in range(len(groups), 0, -1)]
        shapes = [(*side, channels) for side, count in zip(sides, groups, strict=True) for _ in range(count)]
        self.latents = tuple(
            LatentGroup(f"z{number}-{shape[0]}x{shape[1]}", shape, math.prod(shape))
            for number, shape in enumerate(shapes, start=1)
        )
        scale = 1.0 / math.sqrt(len(shapes))
        self.stem = keras.Sequential(conv(width, strides=2), name="stem")
        self.up = [block(width, width, name=f"up_{high}x{wide}", scale=scale) for high, wide in reversed(sides)]
        self.pool = keras.layers.AveragePooling2D(2, dtype=FULL)
        self.start = Start((*sides[0], width))
        self.starts = [ClassMaps((*sides[0], width))] if classes else []
        self.priors, self.posteriors, self.projections, self.down = [], [], [], []
        for group in self.latents:
            self.priors.append(block(width, 2 * channels, name=f"p_{group.name}", dtype=FULL))
            self.posteriors.append(block(width, 2 * channels, name=f"q_{group.name}", dtype=FULL))
            project = conv(width, 1, scale=scale, dtype=FULL)
            self.projections.append(keras.Sequential(project, name=f"project_{group.name}"))
            self.down.append(block(width, width, name=f"down_{group.name}", scale=scale))
        per_pixel = math.prod(likelihood.parameters_shape[2:])
        self.outputs_of = block(width, per_pixel, name="outputs", dtype=FULL)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"x_shape": list(self.x_shape), "likelihood": self.likelihood, "classes": self.classes, **self._sizes}

    @property
    def parts(self) -> Mapping[str, Any]:
        """The blocks by their names, and the likelihood."""
        by_group = (self.priors, self.posteriors, self.projections, self.down)
        blocks = [
            self.stem,
            *self.up,
            self.start,
            *self.starts,
            *(one for some in by_group for one in some),
            self.outputs_of,
        ]
        return MappingProxyType({**{one.name: one for one in blocks}, "likelihood": self.likelihood})

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        valid: tf.Tensor | None = None,  # noqa: ARG002  # each example is independent of the others
        training: bool = False,  # noqa: ARG002  # no layer has another mode in training
    ) -> Terms:
        """Return the terms of the ELBO for x [B, *X] and standard normal noise [L, B, N]."""
        lead = tf.shape(noise)[:-1]
        own, features = split_noise(noise, self.latents), self._features(x, labels, repeats=lead[0])
        q, p, z, log_q = {}, {}, {}, []

        def choose(number: int, h: tf.Tensor) -> tf.Tensor:
            group = self.latents[number]
            prior = self._prior(number, h)
            p[group.name] = prior.with_lead(lead)
            q[group.name] = self._posterior(number, h, features, prior).with_lead(lead)
            eps = tf.reshape(own[group.name], tf.concat([lead, group.shape], axis=0))
            z[group.name] = tf.ensure_shape(q[group.name].sample(eps), (*noise.shape[:-1], *group.shape))
            log_q.append(q[group.name].log_prob(z[group.name]))
            return tf.reshape(z[group.name], (-1, *group.shape))

        p_x = self._likelihood_of(self._walk(self._top(lead, labels), choose), lead)
        kl = {name: tf.reduce_sum(diagonal_normal_kl(q[name], p[name]), axis=(-3, -2, -1)) for name in z}
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={name: tf.reduce_mean(terms, axis=0)[:, None] for name, terms in kl.items()},
            z=z,
            log_q=tf.add_n(log_q),
            q=q,
            p=p,
            p_x=p_x,
        )

    def _top(self, lead: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Return the maps [N, h, w, F] above all groups: the learned one, and for labels [B, C] that of the class.

        Args:
            lead: (L, B) or (B,), whose product is N.
            labels: of a conditional model.
        """
        h = self.start(tf.reduce_prod(lead))
        if labels is None:
            return h
        return h + repeated(self.starts[0](labels), tf.reduce_prod(lead[:-1]))

    def _walk(self, h: tf.Tensor, choose: Callable[[int, tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Return the maps [N, H / 2, W / 2, F] below all groups; `choose` gives the latents of a group.

        Args:
            h: the maps above all groups, [N, h, w, F].
            choose: takes the number of a group and the maps [N, h, w, F] above it to its latents [N, h, w, C].
        """
        for number, group in enumerate(self.latents):
            if h.shape[1] != group.shape[0]:
                h = upsampled(h)
            z = choose(number, h)
            h += self.projections[number](z)
            h += tf.cast(self.down[number](h), tf.float32)
        return h

    def _features(
        self, x: tf.Tensor, labels: tf.Tensor | None, *, repeats: tf.Tensor | int = 1
    ) -> dict[int, tf.Tensor]:
        """Return features of x and its label by height, [repeats * B, h, w, F]."""
        h, found = tf.cast(self.stem(beside_labels(x, maps_of(labels, x.shape.rank))), tf.float32), {}
        for number, network in enumerate(self.up):
            h = self.pool(h) if number else h
            h += tf.cast(network(h), tf.float32)
            found[h.shape[1]] = repeated(h, repeats)
        return found

    def _prior(self, number: int, h: tf.Tensor) -> NormalMaps:
        """Return p(z given the groups above), [N, h, w, C]."""
        mu, log_var = tf.split(self.priors[number](h), 2, axis=-1)
        return NormalMaps(mu, _limited(log_var))

    def _posterior(self, number: int, h: tf.Tensor, features: Mapping[int, tf.Tensor], p: NormalMaps) -> NormalMaps:
        """Return q(z given x and the groups above) = N(mu_p + d mu, sigma_p^2 * d sigma^2), [N, h, w, C]."""
        joined = tf.concat([h, features[h.shape[1]]], axis=-1)
        mu, log_var = tf.split(self.posteriors[number](joined), 2, axis=-1)
        return NormalMaps(p.mu + mu, p.log_var + _limited(log_var))

    def _likelihood_of(self, h: tf.Tensor, lead: tf.Tensor) -> Distribution:
        """Return p(x given z) over the leading axes, for the maps below all groups."""
        parameters = with_lead(self.outputs_of(upsampled(h)), lead)
        return self.likelihood.distribution(tf.reshape(parameters, tf.concat([lead, self._parameters], axis=0)))

    @property
    def _parameters(self) -> tuple[int, ...]:
        return tuple(self.likelihood.parameters_shape)

    def generate(
        self,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        temperature: float = 1.0,
    ) -> Distribution:
        """Return p(x given z) for z from the prior, for noise [B, N]."""
        own = split_noise(noise * temperature, self.latents, generating=True)

        def choose(number: int, h: tf.Tensor) -> tf.Tensor:
            group = self.latents[number]
            return self._prior(number, h).sample(tf.reshape(own[group.name], (-1, *group.shape)))

        lead = tf.shape(noise)[:-1]
        return self._likelihood_of(self._walk(self._top(lead, labels), choose), lead)

    def encode(
        self,
        x: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return the means by group, [B, h, w, C] each, for x [B, *X]."""
        features, means = self._features(x, labels), {}

        def choose(number: int, h: tf.Tensor) -> tf.Tensor:
            q = self._posterior(number, h, features, self._prior(number, h))
            means[self.latents[number].name] = q.mean()
            return q.mean()

        self._walk(self._top(tf.shape(x)[:1], labels), choose)
        return means

    def decode(
        self,
        z: Mapping[str, tf.Tensor],
        *,
        labels: tf.Tensor | None = None,
    ) -> Distribution:
        """Return p(x given z) for latents by group, [B, h, w, C] each."""
        lead = tf.shape(z[self.latents[0].name])[:1]
        top = self._top(lead, labels)
        h = self._walk(top, lambda number, _: tf.cast(z[self.latents[number].name], tf.float32))
        return self._likelihood_of(h, lead)


def _limited(log_var: tf.Tensor) -> tf.Tensor:
    """Return a log-variance that is limited smoothly, so that no exponential overflows."""
    return LIMIT * tf.tanh(log_var / LIMIT)

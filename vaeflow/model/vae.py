"""A variational autoencoder: encoder, posterior, prior, decoder and likelihood as one Keras model."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, PriorContext, Terms
from vaeflow.model import elbo
from vaeflow.model.latents import beside_labels, maps_of
from vaeflow.model.modes import in_mode
from vaeflow.model.path_gradient import log_q_along_samples
from vaeflow.model.saved import SavedByArguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.contracts import Distribution, Likelihood, PathGradient, Posterior, Prior

GROUP = "z"
"""The name of the only group of latents."""


@keras.saving.register_keras_serializable(package="vaeflow")
class VAE(SavedByArguments):
    """q(z given x), p(z) and p(x given z), with one group of latents: a `vaeflow.contracts.LatentVariableModel`.

    Args:
        x_shape: X, the shape of one example.
        latent_size: D.
        encoder: x [B, *X] to features [B, F]; with labels, x is longer by C along its last axis.
        posterior: features to q(z given x).
        prior: p(z); with labels, p(z given the label) if it has a method `given`.
        decoder: z [B, D] to the likelihood's parameters [B, *P]; with labels, [B, D + C].
        likelihood: parameters to p(x given z).
        classes: C of a conditional model, else 0.

    Raises:
        UsageError: if the prior's method `connect` refuses this model.
    """

    def __init__(
        self,
        *,
        x_shape: tuple[int, ...],
        latent_size: int,
        encoder: keras.Model,
        posterior: Posterior,
        prior: Prior,
        decoder: keras.Model,
        likelihood: Likelihood,
        classes: int = 0,
    ) -> None:
        super().__init__(name="vae")
        self.x_shape = tuple(x_shape)
        self.latent_size = latent_size
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.classes = classes
        connect = getattr(prior, "connect", None)
        if connect is not None:
            connect(PriorContext(self.x_shape, classes, self.posterior_of))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor: its five parts, and three sizes."""
        sizes = {"x_shape": list(self.x_shape), "latent_size": self.latent_size, "classes": self.classes}
        return {**sizes, **self.parts}

    @property
    def latents(self) -> tuple[LatentGroup, ...]:
        """The only group: z [D]."""
        size = self.latent_size
        return (LatentGroup(GROUP, (size,), int(self.posterior.noise_size), prior_noise_size=size),)

    @property
    def parts(self) -> Mapping[str, Any]:
        """The five components."""
        names = ("encoder", "posterior", "prior", "decoder", "likelihood")
        return MappingProxyType({name: getattr(self, name) for name in names})

    def posterior_of(self, x: tf.Tensor, *, labels: tf.Tensor | None = None, training: bool = False) -> Distribution:
        """Return q(z given x) for x [B, *X]."""
        features = tf.cast(self.encoder(beside_labels(x, maps_of(labels, x.shape.rank)), training=training), tf.float32)
        return in_mode(lambda: self.posterior.distribution(features), training=training, of="posterior")

    def prior_of(self, labels: tf.Tensor | None, *, training: bool = False) -> Prior:
        """Return p(z), or p(z given the label) if the prior depends on it."""
        given = getattr(self.prior, "given", None)
        if labels is None or given is None:
            return self.prior
        return in_mode(lambda: given(labels), training=training, of="prior")

    def likelihood_of(self, z: tf.Tensor, *, labels: tf.Tensor | None = None, training: bool = False) -> Distribution:
        """Return p(x given z) for z [..., D]; its parameters are float32 in any precision."""
        lead = tf.shape(z)[:-1]
        code = beside_labels(z, labels)
        parameters = self.decoder(tf.reshape(code, (-1, code.shape[-1])), training=training)
        shape = tf.concat([lead, self.likelihood.parameters_shape], axis=0)
        static = z.shape[:-1].concatenate(self.likelihood.parameters_shape)
        shaped = tf.ensure_shape(tf.reshape(tf.cast(parameters, tf.float32), shape), static)
        return in_mode(lambda: self.likelihood.distribution(shaped), training=training, of="likelihood")

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        valid: tf.Tensor | None = None,  # noqa: ARG002  # each example is independent of the others
        training: bool = False,
        path: PathGradient | None = None,
    ) -> Terms:
        """Return the terms of the ELBO for x [B, *X] and standard normal noise [L, B, noise_size].

        Layers of all components inherit `training`. It is set per component, so a component that changes it affects no
        other.
        """
        q = self.posterior_of(x, labels=labels, training=training)  # q(z|x)
        # z_l = g(eps_l, x), equation 9; log q(z_l|x)
        z, log_q = in_mode(lambda: elbo.draw(q, noise), training=training, of="posterior")
        if path is not None:
            z = path(z)
            log_q = in_mode(lambda: log_q_along_samples(q, z), training=training, of="posterior")
        p_x = self.likelihood_of(z, labels=labels, training=training)  # p(x|z_l)
        prior = self.prior_of(labels, training=training)
        # the divergence of q(z given x) from p(z)
        kl_terms = in_mode(lambda: elbo.kl_terms(q, prior, z, log_q), training=training, of="prior")
        return Terms(
            log_likelihood=in_mode(lambda: p_x.log_prob(x), training=training, of="likelihood"),
            kl_terms={GROUP: kl_terms},
            z={GROUP: z},
            log_q=log_q,
            q={GROUP: q},
            p={GROUP: prior},
            p_x=p_x,
        )

    def generate(self, noise: tf.Tensor, *, labels: tf.Tensor | None = None, temperature: float = 1.0) -> Distribution:
        """Return p(x given z) for z from the prior, for noise [..., D]."""
        scaled = noise if temperature == 1.0 else noise * temperature
        z = in_mode(lambda: self.prior_of(labels).sample(scaled), training=False, of="prior")
        return self.decode({GROUP: z}, labels=labels)

    def encode(self, x: tf.Tensor, *, labels: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Return the mean of q(z given x), [B, D], for x [B, *X]."""
        return {GROUP: self.posterior_of(x, labels=labels).mean()}

    def decode(self, z: Mapping[str, tf.Tensor], *, labels: tf.Tensor | None = None) -> Distribution:
        """Return p(x given z) for z [..., D]."""
        return self.likelihood_of(z[GROUP], labels=labels)

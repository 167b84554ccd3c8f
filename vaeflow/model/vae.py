"""A variational autoencoder: encoder, posterior, prior, decoder and likelihood as one Keras model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.contracts import Terms
from vaeflow.model import elbo
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, Likelihood, Posterior, Prior


class VAE(keras.Model):
    """q(z given x), p(z) and p(x given z).

    Args:
        x_shape: X, the shape of one example.
        latent_size: D.
        encoder: x [B, *X] to features [B, F].
        posterior: features to q(z given x).
        prior: p(z).
        decoder: z [B, D] to the likelihood's parameters [B, *P].
        likelihood: parameters to p(x given z).
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
    ) -> None:
        super().__init__(name="vae")
        self.x_shape = tuple(x_shape)
        self.latent_size = latent_size
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood

    def encode(self, x: tf.Tensor, *, training: bool = False) -> Distribution:
        """Return q(z given x) for x [B, *X]."""
        features = tf.cast(self.encoder(x, training=training), tf.float32)
        return in_mode(lambda: self.posterior.distribution(features), training=training, of="posterior")

    def decode(self, z: tf.Tensor, *, training: bool = False) -> Distribution:
        """Return p(x given z) for z [..., D]; its parameters are float32 in any precision."""
        lead = tf.shape(z)[:-1]
        parameters = self.decoder(tf.reshape(z, (-1, self.latent_size)), training=training)
        shape = tf.concat([lead, self.likelihood.parameters_shape], axis=0)
        static = z.shape[:-1].concatenate(self.likelihood.parameters_shape)
        shaped = tf.ensure_shape(tf.reshape(tf.cast(parameters, tf.float32), shape), static)
        return in_mode(lambda: self.likelihood.distribution(shaped), training=training, of="likelihood")

    def terms(self, x: tf.Tensor, noise: tf.Tensor, *, training: bool = False) -> Terms:
        """Return the terms of the ELBO for x [B, *X] and standard normal noise [L, B, noise_size].

        Layers of all components inherit `training`. It is set per component, so a component that changes it affects no
        other.
        """
        q = self.encode(x, training=training)  # q(z|x)
        # z_l = g(eps_l, x), equation 9; log q(z_l|x)
        z, log_q = in_mode(lambda: elbo.draw(q, noise), training=training, of="posterior")
        p_x = self.decode(z, training=training)  # p(x|z_l)
        # the divergence of q(z given x) from p(z)
        kl_terms = in_mode(lambda: elbo.kl_terms(q, self.prior, z, log_q), training=training, of="prior")
        return Terms(
            log_likelihood=in_mode(lambda: p_x.log_prob(x), training=training, of="likelihood"),
            kl=tf.reduce_sum(kl_terms, axis=-1),
            kl_terms=kl_terms,
            z=z,
            log_q=log_q,
            q=q,
            p=self.prior,
            p_x=p_x,
        )

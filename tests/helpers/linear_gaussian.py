"""A linear-Gaussian model, p(z) = N(0, I) and p(x given z) = N(W z + b, s^2 I), whose log p(x) has a closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from vaeflow.components import likelihoods, networks, posteriors, priors
from vaeflow.model.distributions import DiagonalNormal
from vaeflow.model.vae import VAE

if TYPE_CHECKING:
    from vaeflow.contracts import Posterior


@dataclass(frozen=True)
class LinearGaussian:
    """W [X, D] has orthogonal columns, so that the true posterior is diagonal."""

    w: np.ndarray
    b: np.ndarray
    s: float

    @classmethod
    def random(cls, seed: int, width: int = 5, latent: int = 2) -> LinearGaussian:
        """Return a model of random weights."""
        rng = np.random.default_rng(seed)
        orthogonal, _ = np.linalg.qr(rng.normal(size=(width, latent)))
        return cls(orthogonal * rng.uniform(0.3, 2.0, latent), rng.normal(size=width), rng.uniform(0.5, 2.0))

    def evidence(self, x: np.ndarray) -> np.ndarray:
        """Return log p(x) of x [B, X], [B] nats."""
        covariance = self.w @ self.w.T + self.s**2 * np.eye(len(self.b))
        return stats.multivariate_normal(self.b, covariance).logpdf(x)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the variance of p(z given x), [B, D] each."""
        variance = 1.0 / (1.0 + (self.w**2).sum(0) / self.s**2)
        mean = (x - self.b) @ self.w / self.s**2 * variance
        return mean, np.broadcast_to(variance, mean.shape)

    def log_weights(self, x: np.ndarray, mean: np.ndarray, log_var: np.ndarray, noise: np.ndarray, power: float = 1.0):
        """Return log p(x given z) + power * (log p(z) - log q(z given x)), [L, B], in float64.

        Args:
            x: [B, X].
            mean: of q, [B, D].
            log_var: of q, [B, D].
            noise: [L, B, D].
            power: of the ratio of p(z) and q.
        """
        scale = np.exp(0.5 * log_var)
        z = mean + scale * noise
        log_likelihood = stats.norm.logpdf(x, z @ self.w.T + self.b, self.s).sum(-1)
        ratio = stats.norm.logpdf(z) - stats.norm.logpdf(z, mean, scale)
        return log_likelihood + power * ratio.sum(-1)

    def vae(self, posterior: Posterior | None = None) -> VAE:
        """Return the model of vaeflow's components with these weights, and a posterior linear in x by default."""
        latent, x_shape = self.w.shape[1], (len(self.b),)
        model = linear_vae(x_shape[0], latent, posterior, scale=self.s)
        model.decoder.set_weights([self.w.T, self.b])
        return model


def linear_vae(width: int, latent: int, posterior: Posterior | None = None, **gaussian: object) -> VAE:
    """Return a model without hidden layers: x is the features, and the likelihood's mean is linear in z."""
    keras.utils.set_random_seed(0)
    model = VAE(
        x_shape=(width,),
        latent_size=latent,
        encoder=networks.mlp_encoder((width,), hidden=()),
        posterior=posterior or posteriors.diagonal_gaussian(latent),
        prior=priors.standard_normal(latent),
        decoder=networks.mlp_decoder(latent, (width,), hidden=()),
        likelihood=likelihoods.gaussian((width,), **gaussian),
    )
    model.terms(tf.zeros((1, width)), tf.zeros((1, 1, latent)))
    return model


class PosteriorOfRows(keras.layers.Layer):
    """q(z given x) with weights for each row of a batch, so that one pass has a gradient per row.

    Args:
        mean: [B, D].
        log_var: [B, D].
    """

    def __init__(self, mean: np.ndarray, log_var: np.ndarray) -> None:
        super().__init__(dtype="float32")
        self.noise_size = mean.shape[1]
        self.mean, self.log_var = (
            self.add_weight(shape=value.shape, initializer=keras.initializers.Constant(value))
            for value in (mean.astype(np.float32), log_var.astype(np.float32))
        )

    def distribution(self, features: tf.Tensor) -> DiagonalNormal:
        """Return q(z given x) of all rows, or of the first for a batch of one."""
        rows = features.shape[0]
        return DiagonalNormal(tf.convert_to_tensor(self.mean)[:rows], tf.convert_to_tensor(self.log_var)[:rows])

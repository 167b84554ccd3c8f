"""The full-covariance Gaussian against TensorFlow Probability."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from vaeflow_flows import posteriors

from vaeflow.components.likelihoods import gaussian
from vaeflow.components.networks import mlp_decoder, mlp_encoder
from vaeflow.components.objectives import iwae
from vaeflow.components.priors import standard_normal
from vaeflow.components.schedules import constant
from vaeflow.contracts import Timeline
from vaeflow.model.elbo import kl_terms
from vaeflow.model.path_gradient import PathGradient
from vaeflow.model.vae import VAE

EXAMPLES = 4


@pytest.fixture(scope="module")
def tfd():
    with warnings.catch_warnings():  # its import warns
        warnings.simplefilter("ignore")
        import tensorflow_probability as tfp

        return tfp.distributions


def q_of(size):
    """Return a posterior of 4 examples with random variables, and its factor C in float64."""
    rng = np.random.default_rng(size)
    head = posteriors.full_gaussian(size)
    head.distribution(tf.zeros((1, 3)))
    for variable in head.trainable_variables:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    q = head.distribution(tf.constant(rng.normal(size=(EXAMPLES, 3)), tf.float32))
    return q, np.exp(q.log_sigma.numpy().astype(np.float64))[..., None] * q.unit.numpy().astype(np.float64)


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_density_mean_covariance_and_samples(tfd, size):
    q, factor = q_of(size)
    oracle = tfd.MultivariateNormalTriL(q.mu.numpy().astype(np.float64), factor)
    noise = np.random.default_rng(0).normal(size=(6, EXAMPLES, size))
    z, log_q = q.sample_and_log_prob(tf.constant(noise, tf.float32))
    np.testing.assert_allclose(z, q.mu + np.einsum("bij,lbj->lbi", factor, noise), rtol=1e-4, atol=1e-4)
    for log_prob in (log_q, q.log_prob(z)):
        np.testing.assert_allclose(log_prob, oracle.log_prob(z.numpy().astype(np.float64)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(q.mean(), oracle.mean(), rtol=1e-6)
    np.testing.assert_allclose(q.covariance(), oracle.covariance(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_divergence_from_the_prior(tfd, size):
    """In closed form, and by samples."""
    q, factor = q_of(size)
    oracle = tfd.MultivariateNormalTriL(q.mu.numpy().astype(np.float64), factor)
    expected = oracle.kl_divergence(tfd.MultivariateNormalTriL(np.zeros(size), np.eye(size))).numpy()
    p = standard_normal(size)
    closed = kl_terms(q, p, None, None)
    assert closed.shape == (EXAMPLES, 1)
    np.testing.assert_allclose(closed[:, 0], expected, rtol=1e-5)
    noise = tf.constant(np.random.default_rng(1).normal(size=(40_000, EXAMPLES, size)), tf.float32)
    z, log_q = q.sample_and_log_prob(noise)
    estimates = (log_q - p.log_prob(z)).numpy()
    assert (np.abs(estimates.mean(axis=0) - expected) < 4.5 * estimates.std(axis=0) / 200.0 + 1e-4).all()


def test_other_priors_are_left_to_samples():
    q, _ = q_of(2)
    assert q.kl_terms(object()) is None


@pytest.mark.parametrize("gradient", ["total", "doubly-reparameterized"])
def test_a_linear_model_is_exact_at_the_true_posterior(gradient):
    """p(x given z) = N(W z + b, s^2 I) with correlated columns of W: log w is log p(x) for each sample."""
    rng, width, size, scale = np.random.default_rng(2), 5, 2, 0.6
    w, b = rng.normal(size=(width, size)), rng.normal(size=width)
    parts = {"encoder": mlp_encoder((width,), hidden=()), "posterior": posteriors.full_gaussian(size)}
    parts |= {"decoder": mlp_decoder(size, (width,), hidden=()), "likelihood": gaussian((width,), scale=scale)}
    model = VAE(x_shape=(width,), latent_size=size, prior=standard_normal(size), **parts)
    x, noise = rng.normal(size=(20, width)), tf.constant(rng.normal(size=(3, 20, size)), tf.float32)
    model.terms(tf.zeros((1, width)), noise[:, :1])
    covariance = np.linalg.inv(np.eye(size) + w.T @ w / scale**2)
    factor, zeros = np.linalg.cholesky(covariance), np.zeros((width, size))
    to_mean, sigma = w @ covariance / scale**2, np.diag(factor)
    model.decoder.set_weights([w.T, b])
    model.posterior.mu.set_weights([to_mean, -b @ to_mean])
    model.posterior.log_var.set_weights([zeros, 2.0 * np.log(sigma)])
    model.posterior.below.set_weights([zeros[:, :1], factor[1, :1] / sigma[1]])
    objective = iwae(samples=3, gradient=gradient)
    path = PathGradient() if objective.path_gradient else None
    terms = model.terms(tf.constant(x, tf.float32), noise, path=path)
    loss = objective.loss(terms, constant(Timeline(1, 1)), tf.constant(0, tf.int64))
    evidence = stats.multivariate_normal(b, w @ w.T + scale**2 * np.eye(width)).logpdf(x)
    np.testing.assert_allclose(-loss, evidence, rtol=1e-5, atol=1e-4)

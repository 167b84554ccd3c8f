"""The full-covariance Gaussian against TensorFlow Probability."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import posteriors

from vaeflow.components.priors import standard_normal
from vaeflow.model.elbo import kl_terms

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

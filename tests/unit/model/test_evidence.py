"""The ELBO and the evidence of a linear-Gaussian model, where log p(x) and the true posterior have closed forms."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from helpers import builders
from helpers.linear_gaussian import LinearGaussian
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.model import elbo
from vaeflow.model.distributions import DiagonalNormal, Normal, StandardNormal

SEEDS = st.integers(0, 10**6)


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def bound(model, x: np.ndarray, posterior, eps: np.ndarray, prior) -> np.ndarray:
    """Return the ELBO by what is tested, for posteriors N(mean, variance)."""
    mean, variance = posterior
    q = DiagonalNormal(tf.constant(mean, tf.float32), tf.constant(np.log(variance), tf.float32))
    z = q.sample(tf.constant(eps, tf.float32))
    decoded = tf.einsum("lbd,xd->lbx", z, tf.constant(model.w, tf.float32)) + tf.constant(model.b, tf.float32)
    log_likelihood = Normal(decoded, 2.0 * np.log(model.s), rank=1).log_prob(tf.constant(x, tf.float32))
    return elbo.elbo(log_likelihood, tf.reduce_sum(elbo.kl_terms(q, prior, z, q.log_prob(z)), -1)).numpy()


def divergence(mean, variance, other_mean, other_variance) -> np.ndarray:
    ratio = variance / other_variance
    return 0.5 * (ratio - 1.0 - np.log(ratio) + (mean - other_mean) ** 2 / other_variance).sum(-1)


@given(seed=SEEDS)
@builders.examples(20)
def test_evidence_minus_elbo_is_kl_from_the_true_posterior(seed):
    model, x = LinearGaussian.random(seed), 2.0 * random(seed, 4, 5).astype(np.float64)
    mu, log_var = (a.astype(np.float64) for a in (random(s, 4, 2) for s in (seed, seed + 1)))
    points = np.repeat(builders.sigma_points(2), 4, axis=1)  # the expectation of a quadratic, exactly
    found = bound(model, x, (mu, np.exp(log_var)), points, StandardNormal(2))
    evidence, gap = model.evidence(x), divergence(mu, np.exp(log_var), *model.posterior(x))
    assert np.all(found <= evidence + 1e-5 * np.abs(evidence))
    np.testing.assert_allclose(evidence - found, gap, rtol=1e-4, atol=1e-4)


@given(seed=SEEDS)
@builders.examples(10)
def test_elbo_is_the_evidence_where_q_is_the_true_posterior(seed):
    model, x = LinearGaussian.random(seed), random(seed, 4, 5).astype(np.float64)
    points = np.repeat(builders.sigma_points(2), 4, axis=1)
    closed = bound(model, x, model.posterior(x), points, StandardNormal(2))
    np.testing.assert_allclose(closed, model.evidence(x), rtol=1e-5, atol=1e-5)
    # log p(x|z) + log p(z) - log q(z|x) is log p(x) at any z: no sample of the Monte Carlo path is off.
    standard = builders.NormalPrior(DiagonalNormal(tf.zeros(2), tf.zeros(2)))
    sampled = bound(model, x, model.posterior(x), random(seed, 1, 4, 2), standard)
    np.testing.assert_allclose(sampled, model.evidence(x), rtol=1e-5, atol=1e-5)

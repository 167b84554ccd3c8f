"""Learned priors: log p and KL(q, p) against scipy, TensorFlow Probability and samples."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vaeflow.components import priors
from vaeflow.errors import VaeflowError
from vaeflow.model import elbo
from vaeflow.model.distributions import DiagonalNormal, DiagonalNormalMixture, StandardNormal
from vaeflow.model.distributions.normal import diagonal_normal_kl
from vaeflow.plugins.registry import Registry

SEEDS = st.integers(0, 10**6)


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def normal(seed: int, *shape: int) -> DiagonalNormal:
    return DiagonalNormal(tf.constant(random(seed, *shape)), tf.constant(random(seed + 1, *shape)))


def wide(*tensors: tf.Tensor) -> list[np.ndarray]:
    return [np.asarray(tensor, np.float64) for tensor in tensors]


def mixture(seed: int, k: int = 4, d: int = 3) -> DiagonalNormalMixture:
    arrays = random(seed, k), random(seed + 1, k, d, scale=2.0), random(seed + 2, k, d)
    return DiagonalNormalMixture(*map(tf.constant, arrays))


# A diagonal Gaussian


@given(seed=SEEDS)
@builders.examples(20)
def test_kl_of_normals_is_that_of_tfp(seed):
    q, p, tfd = normal(seed, 5, 3), normal(seed + 9, 3), builders.tfd()
    got = diagonal_normal_kl(q, p)
    of_q, of_p = (
        tfd.Normal(mu, np.exp(0.5 * log_var)) for mu, log_var in (wide(q.mu, q.log_var), wide(p.mu, p.log_var))
    )
    assert got.dtype == tf.float32
    assert got.shape == (5, 3)
    np.testing.assert_allclose(got, tfd.kl_divergence(of_q, of_p), rtol=1e-5, atol=1e-5)


def test_kl_of_normals_is_the_mean_over_samples():
    q, p = normal(0, 1, 3), normal(9, 3)
    z = q.sample(builders.normal_noise(100_000, 1, 3))
    estimates = (q.log_prob(z) - p.log_prob(z)).numpy()
    error = estimates.std() / np.sqrt(len(estimates))
    assert float(tf.reduce_sum(diagonal_normal_kl(q, p))) == pytest.approx(estimates.mean(), abs=4.0 * error)


def test_kl_of_equal_normals_is_zero():
    p = normal(0, 3)
    q = DiagonalNormal(p.mu[None], p.log_var[None])
    np.testing.assert_array_equal(diagonal_normal_kl(q, p), np.zeros((1, 3)))


def test_diagonal_gaussian_begins_as_the_standard_normal():
    prior, standard, z = priors.diagonal_gaussian(3), StandardNormal(3), builders.normal_noise(5, 3)
    q = normal(0, 5, 3)
    np.testing.assert_allclose(prior.log_prob(z), standard.log_prob(z), rtol=1e-6)
    np.testing.assert_allclose(prior.kl_terms(q), standard.kl_terms(q), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(prior.sample(z), z)
    np.testing.assert_array_equal(prior.mean(), np.zeros(3))


def test_diagonal_gaussian_with_weights_is_scipys():
    prior, p, z = priors.diagonal_gaussian(3), normal(4, 3), random(0, 2, 5, 3, scale=2.0)
    prior.mu.assign(p.mu)
    prior.log_var.assign(p.log_var)
    mu, log_var = wide(p.mu, p.log_var)
    expected = stats.norm.logpdf(z, mu, np.exp(0.5 * log_var)).sum(-1)
    np.testing.assert_allclose(prior.log_prob(tf.constant(z)), expected, rtol=1e-5, atol=1e-5)
    drawn = prior.sample(builders.normal_noise(40_000, 3)).numpy()
    sigma = np.exp(0.5 * log_var)
    assert np.all(np.abs(drawn.mean(0) - prior.mean()) < 4.0 * sigma / np.sqrt(len(drawn)))
    np.testing.assert_allclose(drawn.std(0), sigma, rtol=0.02)


def test_diagonal_gaussian_has_no_kl_from_other_posteriors():
    class Other(DiagonalNormal):
        """A posterior that may have another density."""

    q = normal(0, 5, 3)
    assert priors.diagonal_gaussian(3).kl_terms(Other(q.mu, q.log_var)) is None
    assert elbo.closed_form_kl_terms(q, priors.diagonal_gaussian(3)).shape == (5, 3)


# A mixture of Gaussians


@given(seed=SEEDS)
@builders.examples(20)
def test_mixture_log_density_is_that_of_scipy_and_tfp(seed):
    p, z, tfd = mixture(seed), random(seed, 2, 5, 3, scale=3.0), builders.tfd()
    got = p.log_prob(tf.constant(z))
    logits, mu, log_var = wide(p.logits, p.mu, p.log_var)
    assert got.dtype == tf.float32
    assert got.shape == (2, 5)
    of_tfp = tfd.MixtureSameFamily(
        tfd.Categorical(logits=logits), tfd.MultivariateNormalDiag(mu, np.exp(0.5 * log_var))
    )
    np.testing.assert_allclose(got, of_tfp.log_prob(z.astype(np.float64)), rtol=1e-5, atol=1e-5)
    each = stats.norm.logpdf(z[..., None, :], mu, np.exp(0.5 * log_var)).sum(-1)
    by_scipy = special.logsumexp(special.log_softmax(logits) + each, axis=-1)
    np.testing.assert_allclose(got, by_scipy, rtol=1e-5, atol=1e-5)


def test_mixture_integrates_to_one_and_has_its_mean():
    p, grid = mixture(3, d=1), np.linspace(-30.0, 30.0, 20_001)
    density = np.exp(wide(p.log_prob(tf.constant(grid[:, None], tf.float32)))[0])
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-5)
    assert np.trapezoid(density * grid, grid) == pytest.approx(float(p.mean()[0]), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_mixture_samples_have_its_distribution(seed):
    p = mixture(seed, d=2)
    drawn = p.sample(builders.normal_noise(20_000, 2)).numpy()
    logits, mu, log_var = wide(p.logits, p.mu, p.log_var)
    weights, sigma = special.softmax(logits), np.exp(0.5 * log_var)
    for axis in range(2):

        def cdf(z, axis=axis):
            return stats.norm.cdf(z[:, None], mu[:, axis], sigma[:, axis]) @ weights

        assert stats.kstest(drawn[:, axis], cdf).pvalue > 1e-3
    mean = weights @ mu
    second = np.einsum("k,ki,kj->ij", weights, mu, mu) + np.diag(weights @ sigma**2)
    np.testing.assert_allclose(p.mean(), mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), second - np.outer(mean, mean), atol=0.15)


def test_mixture_samples_are_finite_at_extreme_noise():
    p = DiagonalNormalMixture(tf.constant([0.0, -30.0, 0.0]), mixture(0, k=3).mu, mixture(0, k=3).log_var)
    noise = tf.constant([[-9.0, 0.0, 0.0], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    assert np.isfinite(p.sample(noise)).all()
    assert np.isfinite(p.log_prob(1e3 * noise)).all()


def test_mixture_prior_begins_with_equal_weights_apart():
    keras.utils.set_random_seed(0)
    prior = priors.mixture_of_gaussians(50, components=20, spread=3.0)
    assert [variable.shape for variable in prior.trainable_variables] == [(20,), (20, 50), (20, 50)]
    assert float(np.std(prior.mu)) == pytest.approx(3.0, rel=0.1)
    np.testing.assert_array_equal(prior.logits, np.zeros(20))
    np.testing.assert_array_equal(prior.log_var, np.zeros((20, 50)))
    assert prior.kl_terms(normal(0, 5, 50)) is None


def test_mixture_prior_learns_the_density_of_its_samples():
    """At the maximum of the likelihood of samples the gradient is zero, up to their number."""
    prior, p = priors.mixture_of_gaussians(2, components=3), mixture(5, k=3, d=2)
    for variable, value in zip(prior.trainable_variables, (p.logits, p.mu, p.log_var), strict=True):
        variable.assign(value)
    z = prior.sample(builders.normal_noise(50_000, 2))
    with tf.GradientTape() as tape:
        log_p = tf.reduce_mean(prior.log_prob(z))
    for gradient in tape.gradient(log_p, [variable.value for variable in prior.trainable_variables]):
        assert np.abs(gradient).max() < 0.03
    np.testing.assert_allclose(prior.mean(), p.mean(), rtol=1e-5)


def test_mixture_kl_is_estimated_by_samples():
    q, prior = normal(0, 4, 2), priors.mixture_of_gaussians(2, components=3)
    z, log_q = elbo.draw(q, builders.normal_noise(1000, 4, 2))
    terms = elbo.kl_terms(q, prior, z, log_q)
    assert terms.shape == (4, 1)
    np.testing.assert_allclose(terms[:, 0], np.mean(log_q - prior.log_prob(z), axis=0), rtol=1e-4)


# Options


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("prior", "mixture-of-gaussians", {"components": 1}),
        ("prior", "mixture-of-gaussians", {"spread": 0.0}),
        ("prior", "diagonal-gaussian", {"scale": 1.0}),
        ("likelihood", "laplace", {"scale": 0.0}),
        ("likelihood", "laplace", {"variance": "free"}),
        ("likelihood", "poisson", {"counts_per_unit": -1.0}),
        ("likelihood", "categorical", {"levels": 1}),
        ("likelihood", "discretized-logistic-mixture", {"mixtures": 0}),
        ("likelihood", "discretized-logistic-mixture", {"levels": 1}),
    ],
)
def test_options_out_of_range_are_one_line(kind, name, options):
    (option,) = options
    with pytest.raises(VaeflowError, match=rf"^{kind}\.{option}: [^\n]+$"):
        Registry.load().get(kind, name).bind(options, kind)

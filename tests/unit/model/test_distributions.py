"""Every log-density, sample and mean against scipy, TensorFlow Probability or a closed form in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vaeflow.components import likelihoods
from vaeflow.model.distributions import Bernoulli, ContinuousBernoulli, DiagonalNormal, Normal, StandardNormal
from vaeflow.model.distributions.axes import sum_example

SEEDS = st.integers(0, 10**6)
SCALES = st.sampled_from([0.01, 1.0, 5.0, 30.0])
CLOSE = {"rtol": 3e-6, "atol": 3e-6}


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


# Bernoulli


@pytest.mark.slow
@given(seed=SEEDS, scale=SCALES)
@builders.examples(20)
def test_bernoulli_log_density_is_that_of_scipy_and_tfp(seed, scale):
    logits, x = random(seed, 3, 5, 2, 2, scale=scale), (pixels(seed, 5, 2, 2) < 0.5).astype(np.float32)
    got = Bernoulli(tf.constant(logits), rank=2).log_prob(tf.constant(x))
    wide = logits.astype(np.float64)
    assert got.dtype == tf.float32
    assert got.shape == (3, 5)
    by_tfp = builders.tfd().Bernoulli(logits=wide, dtype=tf.float64).log_prob(x.astype(np.float64))
    np.testing.assert_allclose(got, tf.reduce_sum(by_tfp, (-1, -2)), **CLOSE)
    if scale <= 5.0:  # scipy takes a probability, which rounds to 1 beyond
        by_scipy = stats.bernoulli.logpmf(x, special.expit(wide)).sum((-1, -2))
        np.testing.assert_allclose(got, by_scipy, **CLOSE)


@given(seed=SEEDS, scale=SCALES)
@builders.examples(10)
def test_bernoulli_probabilities_sum_to_one(seed, scale):
    logits = random(seed, 4, scale=scale)
    log_prob = Bernoulli(tf.constant(logits), rank=1).log_prob(tf.constant(builders.cube(4)))
    assert np.exp(log_prob.numpy().astype(np.float64)).sum() == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("logit", [-1e4, -200.0, -90.0, 90.0, 200.0, 1e4])
def test_bernoulli_is_finite_at_extreme_logits(logit):
    variable = tf.Variable([logit])
    for x in (0.0, 1.0):
        with tf.GradientTape() as tape:
            log_prob = Bernoulli(tf.convert_to_tensor(variable), rank=1).log_prob(tf.constant([x]))
        np.testing.assert_allclose(log_prob, special.log_expit(logit if x else -logit), **CLOSE)
        np.testing.assert_allclose(tape.gradient(log_prob, variable), [x - special.expit(logit)], **CLOSE)


def test_bernoulli_samples_are_binary_and_have_its_mean():
    logits = tf.constant([-4.0, -1.0, 0.0, 2.0])
    bernoulli = Bernoulli(logits, rank=1)
    drawn = bernoulli.sample(builders.uniform_noise(40_000, 4)).numpy()
    assert set(np.unique(drawn)) == {0.0, 1.0}
    p = special.expit(logits.numpy().astype(np.float64))
    np.testing.assert_allclose(bernoulli.mean(), p, rtol=1e-6)
    assert np.all(np.abs(drawn.mean(0) - p) < 4.0 * np.sqrt(p * (1.0 - p) / len(drawn)))


# Continuous Bernoulli: with logit l the density is e^(x l) l / (e^l - 1), and E x is the slope of log((e^l - 1) / l).

SIZES = [1e-30, 1e-8, 1e-4, 0.01, 0.0999, 0.1, 0.1001, 0.3, 1.0, 5.0, 20.0, 50.0, 88.0, 90.0, 200.0, 1e4]
LOGITS = np.array([0.0, *SIZES, *(-s for s in SIZES)], np.float32)


def log_partition(logits: np.ndarray) -> np.ndarray:
    """Return log((e^l - 1) / l) = l / 2 + log(sinh(l / 2) / (l / 2)), float64."""
    half = 0.5 * np.asarray(logits, np.float64)
    size = np.maximum(np.abs(half), 1e-9)
    return half + size + np.log(-np.expm1(-2.0 * size) / (2.0 * size))


def closed_mean(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 - e^-l) - 1 / l = 1/2 + coth(l / 2) / 2 - 1 / l, float64, by its series near 0."""
    wide = np.asarray(logits, np.float64)
    safe = np.where(np.abs(wide) < 0.05, 1.0, wide)
    near = 0.5 + wide / 12.0 - wide**3 / 720.0 + wide**5 / 30240.0
    return np.where(np.abs(wide) < 0.05, near, 0.5 + 0.5 / np.tanh(0.5 * safe) - 1.0 / safe)


@given(seed=SEEDS, scale=SCALES)
@builders.examples(20)
def test_continuous_bernoulli_log_density_is_that_of_tfp(seed, scale):
    logits, x = random(seed, 3, 5, 4, scale=scale), pixels(seed, 5, 4)
    got = ContinuousBernoulli(tf.constant(logits), rank=1).log_prob(tf.constant(x))
    assert got.dtype == tf.float32
    assert got.shape == (3, 5)
    oracle = builders.tfd().ContinuousBernoulli(logits=logits.astype(np.float64))
    by_tfp = tf.reduce_sum(oracle.log_prob(tf.constant(x, tf.float64)), -1)
    # TFP's own series near l = 0 is good to 1e-7 or so.
    np.testing.assert_allclose(got, by_tfp, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got, (x * logits.astype(np.float64) - log_partition(logits)).sum(-1), **CLOSE)


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_continuous_bernoulli_density_is_stable_at_extremes(x):
    variable = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        log_prob = ContinuousBernoulli(variable[:, None], rank=1).log_prob(tf.fill((len(LOGITS), 1), x))
    wide, x = LOGITS.astype(np.float64), float(np.float32(x))
    np.testing.assert_allclose(log_prob, x * wide - log_partition(wide), **CLOSE)
    # An exponential family: the slope of the log-density is x - E x.
    np.testing.assert_allclose(tape.gradient(log_prob, variable), x - closed_mean(wide), rtol=1e-5, atol=1e-5)


def test_continuous_bernoulli_mean_is_stable_at_extremes():
    variable = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        mean = ContinuousBernoulli(tf.convert_to_tensor(variable), rank=1).mean()
    np.testing.assert_allclose(mean, closed_mean(LOGITS), rtol=1e-5, atol=1e-5)
    assert np.all(np.isfinite(tape.gradient(mean, variable)))


@pytest.mark.parametrize("logit", [0.0, 0.05, -0.2, 3.0, -30.0, 150.0])
def test_continuous_bernoulli_integral_and_mean(logit):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = (0.5 * nodes + 0.5).astype(np.float32)
    density = np.exp(ContinuousBernoulli(tf.constant([logit]), rank=1).log_prob(tf.constant(x[:, None])).numpy())
    assert (0.5 * weights * density).sum() == pytest.approx(1.0, abs=1e-5)
    assert (0.5 * weights * density * x).sum() == pytest.approx(closed_mean(logit), abs=1e-5)


@pytest.mark.parametrize("logit", LOGITS[np.abs(LOGITS) <= 200.0])
def test_continuous_bernoulli_samples_invert_its_cdf(logit):
    noise = builders.uniform_noise(2000, 1)
    drawn = ContinuousBernoulli(tf.constant([logit]), rank=1).sample(noise).numpy().astype(np.float64)
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    wide = float(logit)
    below = drawn if abs(wide) < 1e-9 else np.expm1(wide * drawn) / np.expm1(wide)
    # A rounding of x by 1e-7 moves the distribution function by 1e-7 times the density, at most about 1 + |l|; the
    # series for |l| < 0.1 leaves out a term of l^3 / 192.
    np.testing.assert_allclose(below, noise, atol=3e-7 * (1.0 + abs(wide)) + 6e-6)


@pytest.mark.parametrize("logit", [-12.0, -0.05, 0.0, 0.09, 0.11, 4.0])
def test_continuous_bernoulli_samples_have_its_mean(logit):
    drawn = ContinuousBernoulli(tf.constant([logit]), rank=1).sample(builders.uniform_noise(40_000, 1)).numpy()
    assert abs(drawn.mean() - closed_mean(logit)) < 4.0 * drawn.std() / np.sqrt(len(drawn))


# Normals


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 4.0]))
@builders.examples(20)
def test_diagonal_normal_log_density_is_that_of_scipy_and_tfp(seed, scale):
    mu, log_var, z = random(seed, 5, 3), random(seed + 1, 5, 3, scale=scale), random(seed + 2, 2, 5, 3, scale=2.0)
    got = DiagonalNormal(tf.constant(mu), tf.constant(log_var)).log_prob(tf.constant(z))
    sigma = np.exp(0.5 * log_var.astype(np.float64))
    assert got.dtype == tf.float32
    assert got.shape == (2, 5)
    np.testing.assert_allclose(got, stats.norm.logpdf(z, mu, sigma).sum(-1), rtol=5e-6, atol=5e-6)
    by_tfp = builders.tfd().MultivariateNormalDiag(mu.astype(np.float64), sigma).log_prob(z.astype(np.float64))
    np.testing.assert_allclose(got, by_tfp, rtol=5e-6, atol=5e-6)


@given(seed=SEEDS)
@builders.examples(10)
def test_standard_normal_log_density_is_that_of_scipy(seed):
    z = random(seed, 2, 5, 3, scale=3.0)
    got = StandardNormal(3).log_prob(tf.constant(z))
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, stats.norm.logpdf(z.astype(np.float64)).sum(-1), **CLOSE)


@pytest.mark.parametrize("log_var", [-9.0, 0.0, 5.0])
def test_normals_integrate_to_one(log_var):
    sigma = np.exp(0.5 * log_var)
    grid = np.linspace(1.5 - 12.0 * sigma, 1.5 + 12.0 * sigma, 4001).astype(np.float32)
    at = tf.constant(grid[:, None])
    normal = Normal(tf.constant([1.5]), log_var, rank=1)
    diagonal = DiagonalNormal(tf.constant([1.5]), tf.constant([log_var]))
    for distribution in (normal, diagonal):
        density = np.exp(distribution.log_prob(at).numpy().astype(np.float64))
        assert np.trapezoid(density, grid.astype(np.float64)) == pytest.approx(1.0, abs=1e-5)
    points = np.linspace(-12.0, 12.0, 2001)
    prior = np.exp(StandardNormal(1).log_prob(tf.constant(points[:, None], tf.float32)).numpy())
    assert np.trapezoid(prior, points) == pytest.approx(1.0, abs=1e-5)


def test_normal_samples_have_mean_and_variance():
    mu, log_var, count = tf.constant([[0.0, -3.0]]), tf.constant([[1.0, -2.0]]), 40_000
    diagonal = DiagonalNormal(mu, log_var)
    normal = Normal(mu[0], log_var[0], rank=1)
    of_posterior = diagonal.sample(builders.normal_noise(count, 1, 2)).numpy()[:, 0]
    of_likelihood = normal.sample(builders.uniform_noise(count, 2)).numpy()
    np.testing.assert_array_equal(diagonal.mean(), mu)
    np.testing.assert_array_equal(normal.mean(), mu[0])
    sigma = np.exp(0.5 * log_var.numpy()[0])
    for drawn in (of_posterior, of_likelihood):
        assert np.all(np.abs(drawn.mean(0) - mu.numpy()[0]) < 4.0 * sigma / np.sqrt(count))
        np.testing.assert_allclose(drawn.var(0), sigma**2, rtol=4.0 * np.sqrt(2.0 / count))


def test_standard_normal_sample_and_mean():
    noise = builders.normal_noise(7, 3)
    prior = StandardNormal(3)
    np.testing.assert_array_equal(prior.sample(noise), noise)
    np.testing.assert_array_equal(prior.mean(), np.zeros(3))


def test_normal_samples_invert_scipys_distribution_function():
    noise = builders.uniform_noise(2000, 1)
    drawn = Normal(tf.constant([2.0]), 1.0, rank=1).sample(noise).numpy().astype(np.float64)
    np.testing.assert_allclose(stats.norm.cdf(drawn, 2.0, np.exp(0.5)), noise, atol=1e-6)


# All of them


@pytest.mark.parametrize(
    ("distribution", "noise"),
    [
        (Bernoulli(tf.constant([0.3, -1.0, 2.0]), rank=1), builders.uniform_noise(50, 3)),
        (ContinuousBernoulli(tf.constant([0.01, -7.0, 2.0]), rank=1), builders.uniform_noise(50, 3)),
        (Normal(tf.constant([0.0, 1.0, 2.0]), 0.3, rank=1), builders.uniform_noise(50, 3)),
        (DiagonalNormal(tf.zeros(3), tf.ones(3)), builders.normal_noise(50, 3)),
        (StandardNormal(3), builders.normal_noise(50, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_sample_is_a_function_of_its_noise_row_by_row(distribution, noise):
    tf.random.set_seed(1)
    whole = distribution.sample(noise)
    tf.random.set_seed(2)
    assert whole.dtype == tf.float32
    np.testing.assert_array_equal(distribution.sample(noise), whole)
    np.testing.assert_array_equal(distribution.sample(noise[20:30]), whole[20:30])
    assert not np.array_equal(distribution.sample(noise[::-1]), whole)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_sum_example_leaves_the_leading_axes(rank):
    values = random(0, 4, 5, 2, 3, 2)
    expected = values.sum(tuple(range(-rank, 0)))
    np.testing.assert_allclose(sum_example(tf.constant(values), rank), expected, rtol=1e-6, atol=1e-6)


# Likelihood components, on images [B, 2, 3, 1] and [L, B] decoded means


@pytest.mark.parametrize("variance", ["fixed", "shared", "decoded"])
def test_gaussian_likelihood_is_scipys_normal(variance):
    likelihood = likelihoods.gaussian((2, 3, 1), variance=variance, scale=0.5)
    parameters = random(0, 4, 5, *likelihood.parameters_shape)
    x = random(1, 5, 2, 3, 1)
    sigma = 0.5 * np.exp(0.5 * parameters[..., 1:].astype(np.float64)) if variance == "decoded" else 0.5
    assert likelihood.parameters_shape == (2, 3, 2 if variance == "decoded" else 1)
    got = likelihood.distribution(tf.constant(parameters)).log_prob(tf.constant(x))
    assert got.shape == (4, 5)
    expected = stats.norm.logpdf(x, parameters[..., :1], sigma).sum((-1, -2, -3))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_shared_variance_is_learned_to_the_residuals():
    likelihood = likelihoods.gaussian((3,), variance="shared", scale=2.0)
    (log_var,) = likelihood.trainable_variables
    assert float(np.exp(0.5 * log_var.numpy())) == pytest.approx(2.0)
    x = tf.constant(random(0, 100, 3))
    log_var.assign(np.log(np.mean(np.square(x))))  # the maximum-likelihood variance around zero
    with tf.GradientTape() as tape:
        log_prob = tf.reduce_mean(likelihood.distribution(tf.zeros((100, 3))).log_prob(x))
    assert abs(float(tape.gradient(log_prob, log_var.value))) < 1e-6


@pytest.mark.parametrize("name", ["bernoulli", "continuous_bernoulli"])
def test_pixel_likelihoods_take_one_logit_an_element(name):
    likelihood = getattr(likelihoods, name)((2, 3, 1))
    assert likelihood.parameters_shape == (2, 3, 1)
    distribution = likelihood.distribution(tf.zeros((4, 5, 2, 3, 1)))
    log_prob = distribution.log_prob(tf.ones((5, 2, 3, 1)))
    # At logit 0 one is a fair coin, the other uniform.
    np.testing.assert_allclose(log_prob, np.full((4, 5), -6.0 * np.log(2.0) if name == "bernoulli" else 0.0), atol=1e-5)
    assert distribution.sample(builders.uniform_noise(4, 5, 2, 3, 1)).shape == (4, 5, 2, 3, 1)

"""Likelihoods of counts and levels, and the Laplace likelihood, against scipy and TensorFlow Probability in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vaeflow.components import likelihoods
from vaeflow.model.distributions import Categorical, Laplace, Poisson
from vaeflow.model.distributions.categorical import level_of

SEEDS = st.integers(0, 10**6)
CLOSE = {"rtol": 3e-6, "atol": 3e-6}
BYTES = np.arange(256, dtype=np.uint8)


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def as_pixels(stored: np.ndarray) -> tf.Tensor:
    """Return bytes as a step gets them."""
    return tf.cast(tf.constant(stored), tf.float32) / 255.0


# Laplace


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 4.0]))
@builders.examples(20)
def test_laplace_log_density_is_that_of_scipy_and_tfp(seed, scale):
    mu, log_b, x = random(seed, 3, 5, 2), random(seed + 1, 3, 5, 2, scale=scale), random(seed + 2, 5, 2, scale=3.0)
    got = Laplace(tf.constant(mu), tf.constant(log_b), rank=1).log_prob(tf.constant(x))
    b = np.exp(log_b.astype(np.float64))
    assert got.dtype == tf.float32
    assert got.shape == (3, 5)
    if scale <= 1.0:  # scipy takes the logarithm of the density, which is 0 far away
        np.testing.assert_allclose(got, stats.laplace.logpdf(x, mu, b).sum(-1), rtol=1e-5, atol=1e-5)
    by_tfp = builders.tfd().Laplace(mu.astype(np.float64), b).log_prob(x.astype(np.float64))
    np.testing.assert_allclose(got, tf.reduce_sum(by_tfp, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("log_b", [-4.0, 0.0, 3.0])
def test_laplace_integrates_to_one(log_b):
    grid = np.linspace(-30.0, 30.0, 60_001) * np.exp(log_b)
    density = np.exp(Laplace(tf.constant([0.0]), log_b, rank=1).log_prob(tf.constant(grid[:, None], tf.float32)))
    assert np.trapezoid(density.astype(np.float64), grid) == pytest.approx(1.0, abs=1e-4)


def test_laplace_samples_invert_scipys_distribution_function():
    noise = builders.uniform_noise(20_000, 1)
    laplace = Laplace(tf.constant([2.0]), 1.0, rank=1)
    drawn = laplace.sample(noise).numpy().astype(np.float64)
    np.testing.assert_allclose(stats.laplace.cdf(drawn, 2.0, np.e), noise, atol=1e-6)
    assert abs(drawn.mean() - float(laplace.mean()[0])) < 4.0 * np.sqrt(2.0) * np.e / np.sqrt(len(drawn))
    ends = laplace.sample(tf.constant([[2.0**-24], [1.0 - 2.0**-24]])).numpy()
    np.testing.assert_allclose(ends[:, 0], stats.laplace.ppf([2.0**-24, 1.0 - 2.0**-24], 2.0, np.e), rtol=1e-5)


@pytest.mark.parametrize("variance", ["fixed", "shared", "decoded"])
def test_laplace_likelihood_is_that_of_scipy(variance):
    likelihood = likelihoods.laplace((2, 3, 1), variance=variance, scale=0.5)
    parameters, x = random(0, 4, 5, *likelihood.parameters_shape), random(1, 5, 2, 3, 1)
    assert likelihood.parameters_shape == (2, 3, 2 if variance == "decoded" else 1)
    b = 0.5 * np.exp(parameters[..., 1:].astype(np.float64)) if variance == "decoded" else 0.5
    got = likelihood.distribution(tf.constant(parameters)).log_prob(tf.constant(x))
    expected = stats.laplace.logpdf(x, parameters[..., :1], b).sum((-1, -2, -3))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_shared_scale_is_learned_to_the_absolute_error():
    likelihood = likelihoods.laplace((3,), variance="shared", scale=2.0)
    (log_scale,) = likelihood.trainable_variables
    assert float(np.exp(log_scale.numpy())) == pytest.approx(2.0)
    x = tf.constant(random(0, 100, 3))
    log_scale.assign(np.log(np.mean(np.abs(x))))  # the maximum-likelihood b around zero
    with tf.GradientTape() as tape:
        log_prob = tf.reduce_mean(likelihood.distribution(tf.zeros((100, 3))).log_prob(x))
    assert abs(float(tape.gradient(log_prob, log_scale.value))) < 1e-6


# Poisson


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 2.0]))
@builders.examples(20)
def test_poisson_log_probability_is_that_of_scipy_and_tfp(seed, scale):
    log_rate = random(seed, 3, 5, 2, scale=scale)
    x = np.random.default_rng(seed).poisson(np.exp(log_rate[0])).astype(np.float32)
    got = Poisson(tf.constant(log_rate), rank=1).log_prob(tf.constant(x))
    assert got.dtype == tf.float32
    assert got.shape == (3, 5)
    wide = log_rate.astype(np.float64)
    np.testing.assert_allclose(got, stats.poisson.logpmf(x, np.exp(wide)).sum(-1), rtol=2e-5, atol=1e-5)
    by_tfp = builders.tfd().Poisson(log_rate=wide).log_prob(x.astype(np.float64))
    np.testing.assert_allclose(got, tf.reduce_sum(by_tfp, -1), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.01, 1.0, 15.5, 300.0, 1e4, 1e6])
def test_poisson_stays_exact_for_large_counts(rate):
    log_rate = np.float32(np.log(rate))
    exact = np.exp(np.float64(log_rate))
    counts = np.unique(np.round(np.maximum(exact + np.sqrt(exact) * np.linspace(-6.0, 6.0, 49), 0.0)))
    got = Poisson(tf.constant([log_rate]), rank=1).log_prob(tf.constant(counts[:, None], tf.float32))
    # A rounding of log k by 5e-7 moves log p by |k - rate| times that; the sum of its terms would be off by nats.
    np.testing.assert_allclose(got, stats.poisson.logpmf(counts, exact), atol=1e-5 + 1e-6 * 6.0 * np.sqrt(rate))


@pytest.mark.parametrize("log_rate", [-30.0, -2.0, 0.0, 1.5, 4.0, 5.5])
def test_poisson_adds_up_to_one_and_has_its_mean(log_rate):
    counts = np.arange(500.0)
    poisson = Poisson(tf.constant([log_rate]), rank=1)
    p = np.exp(poisson.log_prob(tf.constant(counts[:, None], tf.float32)).numpy().astype(np.float64))
    assert p.sum() == pytest.approx(1.0, abs=2e-5)
    assert (p * counts).sum() == pytest.approx(float(poisson.mean()[0]), rel=3e-5)


@pytest.mark.parametrize("rate", [1e-9, 0.3, 7.0, 100.0, 255.0, 257.0, 3000.0, 1e6])
def test_poisson_samples_are_scipys_quantiles(rate):
    noise = builders.uniform_noise(20_000, 1)
    log_rate = np.float32(np.log(rate))
    drawn = Poisson(tf.constant([log_rate]), rank=1).sample(noise).numpy()
    expected = stats.poisson.ppf(noise.numpy().astype(np.float64), np.exp(np.float64(log_rate)))
    assert np.array_equal(drawn, np.round(drawn))
    assert np.abs(drawn - expected).max() <= 1.0
    # Numbers of float32 fall on the other side of a step of the distribution function.
    assert np.mean(drawn != expected) < (0.01 if rate < 1e4 else 0.1)


def test_poisson_at_extreme_rates():
    poisson = Poisson(tf.constant([[-1e4], [1e4]]), rank=1)
    for u in (2.0**-24, 0.5, 1.0 - 2.0**-24):
        np.testing.assert_array_equal(poisson.sample(tf.fill((2, 1), u)), [[0.0], [np.inf]])
    np.testing.assert_array_equal(poisson.log_prob(tf.zeros((2, 1))), [0.0, -np.inf])
    np.testing.assert_allclose(poisson.log_prob(tf.fill((2, 1), 3.0))[0], -3e4 - np.log(6.0), rtol=1e-6)


def test_poisson_gradient_is_count_minus_rate():
    counts = np.array([0.0, 1.0, 5.0, 40.0, 3e5], np.float32)
    variable = tf.Variable([-3.0, 0.0, 2.0, 3.0, 12.5])
    with tf.GradientTape() as tape:
        log_prob = Poisson(tf.convert_to_tensor(variable), rank=1).log_prob(tf.constant(counts))
    expected = counts - np.exp(variable.numpy().astype(np.float64))
    np.testing.assert_allclose(tape.gradient(log_prob, variable), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("per_unit", "x"), [(255.0, as_pixels(BYTES)), (1.0, tf.cast(BYTES, tf.float32))])
def test_poisson_takes_bytes_and_floats_as_counts(per_unit, x):
    likelihood = likelihoods.poisson((1,), counts_per_unit=per_unit)
    assert likelihood.parameters_shape == (1,)
    p = likelihood.distribution(tf.fill((256, 1), 4.0))
    expected = stats.poisson.logpmf(BYTES, np.exp(4.0))
    np.testing.assert_allclose(p.log_prob(x[:, None]), expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(p.mean(), np.full((256, 1), np.exp(4.0) / per_unit), rtol=1e-6)
    drawn = p.sample(builders.uniform_noise(256, 1))
    assert np.isin(drawn.numpy(), x.numpy()).all()  # the same float32 numbers as of data


@given(count=st.integers(0, 2**22), per_unit=st.sampled_from([1.0, 255.0, 1000.0, 1e4]))
@builders.examples(50)
def test_poisson_counts_survive_the_unit(count, per_unit):
    x = np.float32(count) / np.float32(per_unit)
    got = Poisson(tf.constant([3.0]), 1, per_unit).log_prob(tf.constant([x]))
    np.testing.assert_array_equal(got, Poisson(tf.constant([3.0]), 1).log_prob(tf.constant([float(count)])))


# Categorical


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 30.0]), levels=st.sampled_from([2, 3, 17, 256]))
@builders.examples(20)
def test_categorical_log_probability_is_that_of_tfp(seed, scale, levels):
    logits = random(seed, 3, 5, 2, levels, scale=scale)
    level = np.random.default_rng(seed).integers(0, levels, (5, 2))
    got = Categorical(tf.constant(logits), rank=1).log_prob(tf.constant(level / (levels - 1), tf.float32))
    assert got.dtype == tf.float32
    assert got.shape == (3, 5)
    wide = logits.astype(np.float64)
    by_tfp = builders.tfd().Categorical(logits=wide).log_prob(level)
    np.testing.assert_allclose(got, tf.reduce_sum(by_tfp, -1), rtol=1e-5, atol=1e-5)
    by_scipy = np.take_along_axis(special.log_softmax(wide, -1), level[None, ..., None], -1)[..., 0].sum(-1)
    np.testing.assert_allclose(got, by_scipy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_categorical_adds_up_to_one_and_has_its_mean(levels):
    categorical = Categorical(tf.constant(random(levels, 1, levels, scale=3.0)), rank=1)
    x = np.linspace(0.0, 1.0, levels)
    p = np.exp(categorical.log_prob(tf.constant(x[:, None], tf.float32)).numpy().astype(np.float64))
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    assert float(categorical.mean()[0]) == pytest.approx((p * x).sum(), abs=1e-6)


def test_bytes_are_levels_exactly():
    np.testing.assert_array_equal(level_of(as_pixels(BYTES), 256), BYTES)
    for levels in (2, 4, 6, 16, 18, 52, 86):  # K - 1 divides 255, so these levels are bytes
        stored = (np.arange(levels) * (255 // (levels - 1))).astype(np.uint8)
        np.testing.assert_array_equal(level_of(as_pixels(stored), levels), np.arange(levels))


@given(levels=st.integers(2, 5000), seed=SEEDS)
@builders.examples(50)
def test_unit_interval_values_are_levels_exactly(levels, seed):
    level = np.random.default_rng(seed).integers(0, levels, 20).astype(np.float32)
    np.testing.assert_array_equal(level_of(tf.constant(level / np.float32(levels - 1)), levels), level)


def test_categorical_samples_have_their_probabilities():
    logits = random(0, 6, scale=2.0)
    drawn = Categorical(tf.constant(logits[None]), rank=1).sample(builders.uniform_noise(40_000, 1)).numpy()
    found = np.bincount(np.round(drawn[:, 0] * 5.0).astype(int), minlength=6)
    assert stats.chisquare(found, len(drawn) * special.softmax(logits.astype(np.float64))).pvalue > 1e-4
    ends = Categorical(tf.zeros((1, 256)), rank=1).sample(tf.constant([[2.0**-24], [1.0 - 2.0**-24]]))
    np.testing.assert_array_equal(ends, [[0.0], [1.0]])


def test_categorical_samples_are_pixels_of_bytes():
    categorical = Categorical(tf.zeros((1, 256)), rank=1)
    middles = (np.arange(256, dtype=np.float32) + 0.5) / 256.0
    np.testing.assert_array_equal(categorical.sample(tf.constant(middles[:, None]))[:, 0], as_pixels(BYTES))


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_categorical_gradient_is_stable(size):
    logits = tf.Variable(size * random(0, 3, 4))
    with tf.GradientTape() as tape:
        log_prob = tf.reduce_sum(Categorical(logits.value(), rank=1).log_prob(tf.constant([0.0, 1 / 3, 1.0])))
    expected = np.eye(4)[[0, 1, 3]] - special.softmax(logits.numpy().astype(np.float64), -1)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), expected, rtol=1e-5, atol=1e-6)


def test_categorical_likelihood_has_logits_for_each_channel():
    likelihood = likelihoods.categorical((2, 3, 3), levels=4)
    assert likelihood.parameters_shape == (2, 3, 12)
    parameters, x = random(0, 4, 5, 2, 3, 12), np.random.default_rng(1).integers(0, 4, (5, 2, 3, 3))
    p = likelihood.distribution(tf.constant(parameters))
    of_channels = special.log_softmax(parameters.reshape((4, 5, 2, 3, 3, 4)).astype(np.float64), -1)
    expected = np.take_along_axis(of_channels, x[None, ..., None], -1).sum((-1, -2, -3, -4))
    np.testing.assert_allclose(p.log_prob(tf.constant(x / 3.0, tf.float32)), expected, rtol=1e-5, atol=1e-5)
    assert p.sample(builders.uniform_noise(4, 5, 2, 3, 3)).shape == p.mean().shape == (4, 5, 2, 3, 3)

"""Mixtures of discretized logistics: against TensorFlow Probability, and sums over every level, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vaeflow.components import likelihoods
from vaeflow.model.distributions.logistic_mixture import log_mass

SEEDS = st.integers(0, 10**6)
M = 3


def random(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def made(x_shape: tuple[int, ...], levels: int, seed: int, lead: tuple[int, ...], scale: float = 1.0):
    """Return a likelihood's distribution and its parameters in float64, [..., places, N, M]."""
    likelihood = likelihoods.discretized_logistic_mixture(x_shape, mixtures=M, levels=levels)
    parameters = random(seed, *lead, *likelihood.parameters_shape, scale=scale)
    places = x_shape[:-1] if len(x_shape) == 3 else x_shape
    wide = parameters.astype(np.float64).reshape((*lead, *places, -1, M))
    return likelihood.distribution(tf.constant(parameters)), wide


def mass(level: np.ndarray, mean: np.ndarray, log_scale: np.ndarray, levels: int) -> np.ndarray:
    """Return the probability of a level by the difference of scipy's distribution functions."""
    y, half, scale = 2.0 * level / (levels - 1) - 1.0, 1.0 / (levels - 1), np.exp(np.maximum(log_scale, -7.0))
    upper = np.where(level == levels - 1, np.inf, y + half)
    lower = np.where(level == 0, -np.inf, y - half)
    left, right = (stats.logistic.cdf(end, mean, scale) for end in (lower, upper))
    tails = stats.logistic.sf(lower, mean, scale) - stats.logistic.sf(upper, mean, scale)
    return np.where(y < mean, right - left, tails)  # the difference of the smaller numbers


def colours(level: np.ndarray, wide: np.ndarray, levels: int) -> np.ndarray:
    """Return the paper's log p of levels [..., 3] (equations 2 and 3) for parameters [..., 10, M]."""
    y = 2.0 * level / (levels - 1) - 1.0
    c = np.tanh(wide[..., 7:, :])
    red, green = y[..., 0, None], y[..., 1, None]
    m = wide[..., 1:4, :]
    shifted = (
        m[..., 0, :],
        m[..., 1, :] + c[..., 0, :] * red,
        m[..., 2, :] + c[..., 1, :] * red + c[..., 2, :] * green,
    )
    p = np.prod([mass(level[..., i, None], shifted[i], wide[..., 4 + i, :], levels) for i in range(3)], axis=0)
    return np.log(np.sum(special.softmax(wide[..., 0, :], -1) * p, axis=-1))


def by_tfp(level: np.ndarray, wide: np.ndarray, levels: int) -> tf.Tensor:
    """Return log p of each element by TFP's quantized logistics, for parameters [..., 3, M]."""
    tfd = builders.tfd()
    scale = np.exp(np.maximum(wide[..., 2, :], -7.0)) * (levels - 1) / 2.0
    # TFP's level k is the interval (k - 1, k].
    logistic = tfd.Logistic((wide[..., 1, :] + 1.0) * (levels - 1) / 2.0 - 0.5, scale)
    quantized = tfd.QuantizedDistribution(logistic, low=np.float64(0.0), high=np.float64(levels - 1))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=wide[..., 0, :]), quantized).log_prob(level)


@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 2.0]), levels=st.sampled_from([2, 3, 32, 256]))
@builders.examples(20)
def test_one_channel_is_the_quantized_logistic_of_tfp(seed, scale, levels):
    p, wide = made((2, 3, 1), levels, seed, (4, 5), scale)
    level = np.random.default_rng(seed).integers(0, levels, (5, 2, 3)).astype(np.float64)
    got = p.log_prob(tf.constant(level[..., None] / (levels - 1), tf.float32))
    assert got.dtype == tf.float32
    assert got.shape == (4, 5)
    np.testing.assert_allclose(got, tf.reduce_sum(by_tfp(level, wide, levels), (-1, -2)), rtol=2e-5, atol=2e-5)


@given(seed=SEEDS, levels=st.sampled_from([2, 8, 256]))
@builders.examples(20)
def test_three_channels_are_those_of_the_paper(seed, levels):
    p, wide = made((2, 2, 3), levels, seed, (4, 5))
    level = np.random.default_rng(seed).integers(0, levels, (5, 2, 2, 3)).astype(np.float64)
    got = p.log_prob(tf.constant(level / (levels - 1), tf.float32))
    np.testing.assert_allclose(got, colours(level, wide, levels).sum((-1, -2)), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (1, 256), (2, 12), (3, 8)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_probabilities_add_up_to_one(channels, levels, scale):
    p, _ = made((1, 1, channels), levels, 7, (1,), scale)
    every = np.array(list(itertools.product(range(levels), repeat=channels)), np.float32) / np.float32(levels - 1)
    masses = np.exp(p.log_prob(tf.constant(every.reshape((-1, 1, 1, channels)))).numpy().astype(np.float64))
    assert masses.sum() == pytest.approx(1.0, abs=3e-5)


@pytest.mark.parametrize("x_shape", [(2, 3, 1), (6,), (2, 3)])
def test_the_mean_of_one_channel_is_its_expectation(x_shape):
    p, wide = made(x_shape, 256, 3, (4,))
    every = np.arange(256.0)
    expected = np.exp(by_tfp(every.reshape((-1, 1, 1)), wide.reshape((4, 6, 3, M)), 256).numpy())
    assert p.mean_is_exact
    assert p.mean().shape == (4, *x_shape)
    np.testing.assert_allclose(np.reshape(p.mean(), (4, 6)), np.tensordot(every / 255.0, expected, 1), atol=2e-6)


@pytest.mark.parametrize(("scale", "log_scale", "within"), [(1.0, 0.0, 0.1), (0.2, -3.0, 2e-3)])
@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_three_channels_is_near(seed, scale, log_scale, within):
    """The nearer the fewer levels are cut off: of narrow logistics in the middle, all but none."""
    likelihood = likelihoods.discretized_logistic_mixture((1, 1, 3), mixtures=M, levels=16)
    parameters = random(seed, 1, 1, 1, 10, M, scale=scale)
    parameters[..., 4:7, :] += log_scale
    p = likelihood.distribution(tf.constant(parameters.reshape((1, 1, 1, -1))))
    every = np.array(list(itertools.product(range(16), repeat=3)), np.float32) / np.float32(15.0)
    masses = np.exp(p.log_prob(tf.constant(every.reshape((-1, 1, 1, 3)))).numpy().astype(np.float64))
    expected, got = masses @ every, p.mean().numpy().ravel()
    assert not p.mean_is_exact
    assert got[0] == pytest.approx(expected[0], abs=1e-5)
    np.testing.assert_allclose(got[1:], expected[1:], atol=within)


@pytest.mark.parametrize(("channels", "levels"), [(1, 16), (2, 5), (3, 3)])
def test_samples_have_their_probabilities(channels, levels):
    p, wide = made((1, 1, channels), levels, 11, (1,))
    count = 20_000
    many = likelihoods.discretized_logistic_mixture((1, 1, channels), mixtures=M, levels=levels).distribution(
        tf.repeat(tf.constant(wide.reshape((1, 1, 1, -1)), tf.float32), count, axis=0)
    )
    drawn = many.sample(builders.uniform_noise(count, channels)[:, None, None]).numpy().reshape((count, channels))
    every = np.array(list(itertools.product(range(levels), repeat=channels)), np.float32)
    log_p = p.log_prob(tf.constant(every.reshape((-1, 1, 1, channels)) / np.float32(levels - 1)))
    wanted = special.softmax(log_p.numpy().astype(np.float64)) * count
    index = np.round(drawn * (levels - 1)).astype(int) @ (levels ** np.arange(channels)[::-1])
    found = np.bincount(index, minlength=len(every))
    assert wanted.min() > 5.0
    assert stats.chisquare(found, wanted).pvalue > 1e-4


def test_samples_are_pixels_of_bytes():
    p, _ = made((1, 1, 1), 256, 5, (1,), scale=2.0)
    drawn = p.sample(builders.uniform_noise(5000, 1)[:, None, None]).numpy()
    assert np.isin(drawn, np.arange(256, dtype=np.float32) / np.float32(255.0)).all()
    ends = likelihoods.discretized_logistic_mixture((1,), mixtures=1).distribution(tf.constant([[0.0, 0.0, 5.0]]))
    np.testing.assert_array_equal(ends.sample(tf.constant([[2.0**-24], [1.0 - 2.0**-24]])), [[0.0], [1.0]])


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0, 5.0, 1e3])
@pytest.mark.parametrize("mean", [-1e4, -1.0, 0.1, 1e4])
def test_log_probabilities_are_stable_everywhere(log_scale, mean):
    level = np.arange(256.0)
    parameters = [tf.Variable([value]) for value in (mean, log_scale)]
    with tf.GradientTape() as tape:
        got = log_mass(tf.constant(level, tf.float32), *(v.value() for v in parameters), 256)
    gradients = tape.gradient(got, parameters)
    assert np.isfinite(got).all()
    assert np.isfinite(gradients).all()
    if log_scale < 100.0:
        exact = np.longdouble(level / 127.5 - 1.0 - np.float32(mean)) * np.exp(-np.longdouble(log_scale))
        half = np.exp(-np.longdouble(log_scale)) / 255.0
        below, above = -np.logaddexp(0.0, -exact - half), -np.logaddexp(0.0, exact - half)
        inside = below + above + np.log(-np.expm1(-2.0 * half))
        expected = np.where(level == 0, below, np.where(level == 255, above, inside)).astype(np.float64)
        # y and the mean are float32 near 1, so their distance in scales is off by 6e-8 / s.
        np.testing.assert_allclose(got, expected, rtol=3e-6, atol=3e-6 + 1e-7 * np.exp(-log_scale))


def test_far_levels_do_not_lose_their_gradient():
    """The paper's code takes the density in the middle of the interval below 1e-5, and 1e-12 for less."""
    mean = tf.Variable([-0.9])
    with tf.GradientTape() as tape:
        got = log_mass(tf.constant([200.0]), mean.value(), tf.constant([-7.0]), 256)
    assert float(tape.gradient(got, mean)[0]) == pytest.approx(np.exp(7.0), rel=1e-3)


@pytest.mark.parametrize(
    ("x_shape", "expected"), [((4, 5, 3), (4, 5, 30)), ((4, 5, 1), (4, 5, 9)), ((7,), (63,)), ((4, 5), (4, 45))]
)
def test_parameters_of_images_and_vectors(x_shape, expected):
    likelihood = likelihoods.discretized_logistic_mixture(x_shape, mixtures=M)
    assert likelihood.parameters_shape == expected
    p = likelihood.distribution(tf.constant(random(0, 2, 6, *expected)))
    drawn = p.sample(builders.uniform_noise(2, 6, *x_shape))
    assert drawn.shape == p.mean().shape == (2, 6, *x_shape)
    assert p.log_prob(drawn[0]).shape == (2, 6)


def test_a_graph_of_unknown_batch_is_the_same():
    likelihood = likelihoods.discretized_logistic_mixture((2, 2, 3), mixtures=M, levels=16)
    parameters, noise = tf.constant(random(0, 5, *likelihood.parameters_shape)), builders.uniform_noise(5, 2, 2, 3)

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 2, 10 * M)), tf.TensorSpec((None, 2, 2, 3))])
    def graph(parameters, noise):
        p = likelihood.distribution(parameters)
        drawn = p.sample(noise)
        return drawn, p.log_prob(drawn), p.mean()

    p = likelihood.distribution(parameters)
    drawn = p.sample(noise)
    for got, wanted in zip(graph(parameters, noise), (drawn, p.log_prob(drawn), p.mean()), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)

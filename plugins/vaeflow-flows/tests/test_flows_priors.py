"""Flows as priors: densities against Jacobians, exact inverses, an integral, the mean, and what they can learn."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from vaeflow_flows import priors

from vaeflow.errors import UsageError
from vaeflow.model.distributions import StandardNormal

BUILD = {
    "real-nvp": functools.partial(priors.real_nvp, depth=4, hidden=(16,)),
    "maf": functools.partial(priors.maf, depth=2, hidden=(16,)),
}


TRAINED = {
    "real-nvp": functools.partial(priors.real_nvp, hidden=(32,)),
    "maf": functools.partial(priors.maf, depth=6, hidden=(32,)),
}


def normal(seed, *shape, scale=1.0):
    return tf.constant(np.random.default_rng(seed).normal(scale=scale, size=shape), tf.float32)


def random_prior(name, size, *, seed=0, scale=0.3):
    """Return a prior whose variables are all random."""
    prior = BUILD[name](size)
    for number, variable in enumerate(prior.trainable_variables):
        variable.assign(normal((seed, number), *variable.shape, scale=scale))
    return prior


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(list(BUILD)), st.integers(2, 5), st.integers(0, 2**31), st.floats(0.05, 0.4))
def test_the_density_follows_the_change_of_variables(name, size, seed, scale):
    prior, noise = random_prior(name, size, seed=seed, scale=scale), normal(seed, 5, size)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        z = prior.sample(noise)
    jacobian = tape.batch_jacobian(z, noise, experimental_use_pfor=False).numpy().astype(np.float64)
    sign, log_det = np.linalg.slogdet(jacobian)
    assert (sign > 0).all()
    expected = -0.5 * np.sum(np.log(2 * np.pi) + np.square(noise.numpy().astype(np.float64)), axis=-1) - log_det
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", list(BUILD))
@pytest.mark.parametrize("size", [2, 3, 20])
def test_the_inverse_is_exact(name, size):
    prior, noise = random_prior(name, size), normal(1, 3, 5, size)
    z = prior.sample(noise)
    assert float(tf.reduce_max(tf.abs(z - noise))) > 0.1
    back = z
    for step in reversed(prior.steps):
        back, _ = step.given(None).inverse(back)
    np.testing.assert_allclose(back, noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(BUILD))
def test_the_density_integrates_to_one(name):
    prior = random_prior(name, 2)
    side = np.linspace(-12.0, 12.0, 481)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1) + prior.mean().numpy()
    density = np.exp(prior.log_prob(tf.constant(grid, tf.float32)).numpy().astype(np.float64))
    assert density.sum() * 0.05**2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", list(BUILD))
@pytest.mark.parametrize("size", [2, 5])
def test_the_mean_is_that_of_samples(name, size):
    prior = random_prior(name, size)
    z = prior.sample(normal(3, 100_000, size)).numpy()
    np.testing.assert_allclose(prior.mean(), z.mean(axis=0), atol=0.02 * z.std(axis=0).max())
    assert not prior.mean_is_exact


@pytest.mark.parametrize("name", list(BUILD))
def test_it_starts_near_the_standard_normal_and_learns_all(name):
    keras.utils.set_random_seed(0)
    prior, z = BUILD[name](6), normal(4, 50, 6)
    with tf.GradientTape() as tape:
        log_p = prior.log_prob(z)
    assert float(tf.reduce_mean(tf.abs(log_p - StandardNormal(6).log_prob(z)))) < 0.3
    variables = prior.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(log_p, [v.value for v in variables]), strict=True):
        assert np.abs(gradient).max() > 0.0, variable.path


@pytest.mark.parametrize("name", list(BUILD))
def test_leading_axes_do_not_matter(name):
    prior, z = random_prior(name, 3), normal(5, 2, 4, 3)
    together = prior.log_prob(z)
    assert together.shape == (2, 4)
    np.testing.assert_allclose(prior.log_prob(z[1, 2]), together[1, 2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prior.sample(z[1, 2]), prior.sample(z)[1, 2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", [priors.real_nvp, priors.maf])
def test_one_latent_or_no_path_is_refused(build):
    with pytest.raises(UsageError, match=r"needs latent_size >= 2, not 1: .*; try 'standard-normal'"):
        build(1)
    with pytest.raises(UsageError, match="hidden must be one or more layers of at least 2 units"):
        build(3, hidden=(1,))


def ring_log_prob(z):
    """Return log p of a ring: the distance from 0 is near N(2, 0.25^2), the direction is uniform; [N] nats."""
    radius = np.linalg.norm(z, axis=-1)
    unnormalized = -0.5 * np.square((radius - 2.0) / 0.25)
    return unnormalized - math.log(2.0 * math.pi * 2.0 * 0.25 * math.sqrt(2.0 * math.pi))


def kl_from_ring(log_prob):
    """Return KL(ring, p) in nats by a grid."""
    side = np.linspace(-4.0, 4.0, 201)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    log_ring, cell = ring_log_prob(grid), (side[1] - side[0]) ** 2
    ring = np.exp(log_ring)
    assert ring.sum() * cell == pytest.approx(1.0, abs=1e-4)
    return float(np.sum(ring * (log_ring - np.asarray(log_prob(grid), np.float64))) * cell)


def fitted(name, *, steps=300, batch=256):
    """Return a prior after some steps of Adam on the likelihood of samples of the ring."""
    keras.utils.set_random_seed(0)
    prior, rng = TRAINED[name](2), np.random.default_rng(0)
    radius = rng.normal(2.0, 0.25, 4 * steps * batch)
    radius = radius[rng.uniform(0.0, 4.0, len(radius)) < radius][: steps * batch]  # the plane has more room far out
    angle = rng.uniform(0.0, 2.0 * np.pi, len(radius))
    z = (radius * np.stack([np.cos(angle), np.sin(angle)])).T.reshape(steps, batch, 2)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, steps))
    optimizer.build(prior.trainable_variables)

    @tf.function
    def fit(batches):
        for one in batches:
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(prior.log_prob(one))
            weights = prior.trainable_variables
            optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    fit(tf.constant(z, tf.float32))
    return prior


@pytest.mark.parametrize(("name", "share"), [("real-nvp", 0.55), ("maf", 0.3)])
def test_a_flow_learns_a_ring_better_than_any_gaussian(name, share):
    """The best Gaussian has the ring's moments: mean 0, and half the mean squared radius in each dimension."""
    variance = 0.5 * (4.0 + 3.0 * 0.25**2)  # E r^2 = (m^3 + 3 m s^2) / m for a density of r that is r N(r; m, s^2) / m
    best = kl_from_ring(lambda z: -0.5 * np.sum(np.square(z), axis=-1) / variance - math.log(2.0 * math.pi * variance))
    assert best == pytest.approx(1.013, abs=1e-3)
    prior = fitted(name)
    assert 0.0 < kl_from_ring(lambda z: prior.log_prob(tf.constant(z, tf.float32))) < share * best

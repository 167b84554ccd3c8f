"""What a flow is for: posteriors that are no diagonal Gaussians are fitted better, by amounts that theory knows."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.tiers import repeated
from vaeflow_flows import posteriors

from vaeflow.components.posteriors import diagonal_gaussian
from vaeflow.model.elbo import draw

STEPS, SAMPLES = 300, 128
BUILD = {
    "diagonal-gaussian": diagonal_gaussian,
    "planar": functools.partial(posteriors.planar, depth=4),
    "sylvester": functools.partial(posteriors.sylvester, depth=4),
    "iaf": functools.partial(posteriors.iaf, depth=2, hidden=(32,)),
    "maf": functools.partial(posteriors.maf, depth=2, hidden=(32,)),
    "coupling": functools.partial(posteriors.coupling, depth=4, hidden=(32,)),
    "full-gaussian": posteriors.full_gaussian,
}


def log_normal(value, scale):
    return -0.5 * tf.square(value / scale) - math.log(scale * math.sqrt(2.0 * math.pi))


def banana(z):
    """Return log p(z) of a bent and tilted normal: z_0 ~ N(0, 1), z_1 given z_0 ~ N(z_0^2 / 2 + z_0, 0.4^2)."""
    return log_normal(z[..., 0], 1.0) + log_normal(z[..., 1] - 0.5 * tf.square(z[..., 0]) - z[..., 0], 0.4)


def prior(z):
    return log_normal(z[..., 0], 1.0) + log_normal(z[..., 1], 1.0)


def line(z):
    """Return log p(x, z) for x = 1 given z ~ N(z_0 + z_1, 0.2^2): the posterior is a normal along a line."""
    return prior(z) + log_normal(1.0 - z[..., 0] - z[..., 1], 0.2)


def pair(z):
    """Return log p(x, z) for x = 1.5 given z ~ N(z_0^2 + z_1 / 2, 0.5^2): the posterior has a peak on either side."""
    return prior(z) + log_normal(1.5 - tf.square(z[..., 0]) - 0.5 * z[..., 1], 0.5)


def on_grid(points, widest):
    """Return the points of a square grid, [N, 1, 2] float32, and the area of a cell."""
    side = np.linspace(-widest, widest, points)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    return tf.constant(grid, tf.float32), (side[1] - side[0]) ** 2


def log_evidence(joint):
    """Return log p(x), the logarithm of the integral of p(x, z), by a grid of z."""
    z, area = on_grid(701, 7.0)
    return math.log(np.exp(joint(z).numpy().astype(np.float64)).sum() * area)


def fitted(name, joint):
    """Return q(z given x) after 300 steps of Adam on reparameterized estimates of the ELBO."""
    keras.utils.set_random_seed(0)
    posterior, features = BUILD[name](2), tf.ones((1, 1))
    posterior.distribution(features)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.03, STEPS))
    optimizer.build(posterior.trainable_variables)

    @tf.function
    def fit(noise):
        for one in noise:
            with tf.GradientTape() as tape:
                z, log_q = draw(posterior.distribution(features), one)
                loss = tf.reduce_mean(log_q - joint(z))
            weights = posterior.trainable_variables
            optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    noise = np.random.default_rng(0).normal(size=(STEPS, SAMPLES, 1, 2))
    fit(tf.constant(noise, tf.float32))
    return posterior.distribution(features)


@functools.cache
def divergence(name, joint):
    """Return KL(q, p(z given x)) = log p(x) - ELBO of a fitted q, in nats, by grids: of noise for the ELBO."""
    noise, area = on_grid(301, 6.0)
    z, log_q = draw(fitted(name, joint), noise)
    weights = np.exp(prior(noise).numpy().astype(np.float64)) * area
    elbo = np.sum(weights * (joint(z) - log_q).numpy().astype(np.float64))
    return log_evidence(joint) - float(elbo)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("planar", 0.5),
        ("iaf", 0.3),
        repeated("sylvester", 0.2),
        repeated("maf", 0.5),
        repeated("coupling", 0.3),
        repeated("full-gaussian", 0.8),
    ],
)
def test_each_flow_fits_a_banana_better_than_a_gaussian(name, share):
    assert 0.5 < divergence("diagonal-gaussian", banana) < 2.0
    assert -0.01 < divergence(name, banana) < share * divergence("diagonal-gaussian", banana)


@pytest.mark.parametrize("name", ["planar", "sylvester"])
def test_a_flow_closes_the_gap_of_a_correlated_posterior(name):
    """The best diagonal Gaussian stays (sum_i log P_ii - log det P) / 2 away from a normal of precision P."""
    precision = np.eye(2) + np.ones((2, 2)) / 0.2**2
    least = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert log_evidence(line) == pytest.approx(-0.5 * (1.0 / 2.04 + math.log(2.0 * math.pi * 2.04)), abs=1e-5)
    assert least == pytest.approx(1.292, abs=1e-3)
    assert least - 1e-3 < divergence("diagonal-gaussian", line) < least + 0.05
    assert -1e-3 < divergence(name, line) < 0.05 * least


def test_a_planar_flow_fits_both_peaks():
    """A diagonal Gaussian on one of two equal peaks stays at least log 2 away, less the little where they meet."""
    assert divergence("diagonal-gaussian", pair) > math.log(2.0)
    assert -1e-3 < divergence("planar", pair) < 0.1

"""What a flow is for: a posterior that is no diagonal Gaussian is fitted better, in nats, by each of them."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import posteriors

from vaeflow.components.posteriors import diagonal_gaussian
from vaeflow.model.elbo import draw

STEPS, SAMPLES = 300, 128
BUILD = {
    "diagonal-gaussian": diagonal_gaussian,
    "planar": functools.partial(posteriors.planar, depth=4),
    "iaf": functools.partial(posteriors.iaf, depth=2, hidden=(32,)),
    "maf": functools.partial(posteriors.maf, depth=2, hidden=(32,)),
    "coupling": functools.partial(posteriors.coupling, depth=4, hidden=(32,)),
    "full-gaussian": posteriors.full_gaussian,
}


def banana(z):
    """Return log p of a bent and tilted normal: z_0 ~ N(0, 1), z_1 given z_0 ~ N(z_0^2 / 2 + z_0, 0.4^2)."""
    bent = (z[..., 1] - 0.5 * tf.square(z[..., 0]) - z[..., 0]) / 0.4
    return -0.5 * (tf.square(z[..., 0]) + tf.square(bent)) - math.log(2.0 * math.pi * 0.4)


@functools.cache
def divergence(name):
    """Return KL(q, banana) in nats after 300 steps of Adam on estimates of it; p is normalized, so 0 is perfect."""
    keras.utils.set_random_seed(0)
    posterior, features = BUILD[name](2), tf.ones((1, 1))
    posterior.distribution(features)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.03, STEPS))
    optimizer.build(posterior.trainable_variables)

    def estimate(noise):
        z, log_q = draw(posterior.distribution(features), noise)
        return tf.reduce_mean(log_q - banana(z))

    @tf.function
    def fit(noise):
        for one in noise:
            with tf.GradientTape() as tape:
                loss = estimate(one)
            weights = posterior.trainable_variables
            optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)

    rng = np.random.default_rng(0)
    fit(tf.constant(rng.normal(size=(STEPS, SAMPLES, 1, 2)), tf.float32))
    return float(estimate(tf.constant(rng.normal(size=(20_000, 1, 2)), tf.float32)))


@pytest.mark.parametrize(
    ("name", "share"), [("planar", 0.5), ("iaf", 0.3), ("maf", 0.5), ("coupling", 0.3), ("full-gaussian", 0.8)]
)
def test_each_flow_fits_a_banana_better_than_a_gaussian(name, share):
    assert 0.5 < divergence("diagonal-gaussian") < 2.0
    assert -0.01 < divergence(name) < share * divergence("diagonal-gaussian")

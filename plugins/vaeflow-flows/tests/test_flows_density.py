"""Densities against Jacobians, inverses, integrals and an importance identity: none is derived from the code."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import posteriors

BUILD = {
    "planar": lambda size: posteriors.planar(size, depth=3),
    "iaf": lambda size: posteriors.iaf(size, depth=2, hidden=(16, 16)),
    "maf": lambda size: posteriors.maf(size, depth=2, hidden=(16, 16)),
    "coupling": lambda size: posteriors.coupling(size, depth=3, hidden=(16,)),
    "full-gaussian": posteriors.full_gaussian,
}
CASES = [(name, size) for name in BUILD for size in (1, 2, 3, 20) if (name, size) != ("coupling", 1)]
INVERTIBLE = [(name, size) for name, size in CASES if name != "planar"]
FEATURES = 4


def normal(seed, *shape, scale=1.0):
    return tf.constant(np.random.default_rng(seed).normal(scale=scale, size=shape), tf.float32)


def far_from_the_identity(name, size, *, scale=0.4):
    """Return a posterior whose variables are all random, and features of 5 examples."""
    keras.utils.set_random_seed(0)
    posterior = BUILD[name](size)
    posterior.distribution(tf.zeros((1, FEATURES)))
    for seed, variable in enumerate(posterior.trainable_variables):
        fan_in = variable.shape[0] if len(variable.shape) == 2 else 1
        variable.assign(normal(seed, *variable.shape, scale=scale * fan_in**-0.5))
    return posterior, normal(1, 5, FEATURES)


def log_normal(noise):
    return -0.5 * np.sum(np.log(2 * np.pi) + np.square(noise.numpy().astype(np.float64)), axis=-1)


# In 20 dimensions the Jacobian takes seconds; there `log_prob` is the check, below.
@pytest.mark.parametrize(("name", "size"), [case for case in CASES if case[1] < 20] + [("maf", 7), ("iaf", 7)])
def test_log_density_follows_the_change_of_variables(name, size):
    posterior, features = far_from_the_identity(name, size)
    noise = normal(2, 5, size)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        z, log_q = posterior.distribution(features).sample_and_log_prob(noise[None])
        z = z[0]
    jacobian = tape.batch_jacobian(z, noise, experimental_use_pfor=False).numpy().astype(np.float64)
    log_det = np.linalg.slogdet(jacobian)[1]
    assert np.abs(log_det).max() > 0.01
    np.testing.assert_allclose(log_q[0], log_normal(noise) - log_det, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize(("name", "size"), INVERTIBLE)
def test_the_density_of_a_sample_is_the_one_it_was_drawn_with(name, size):
    posterior, features = far_from_the_identity(name, size)
    q = posterior.distribution(features)
    z, log_q = q.sample_and_log_prob(normal(3, 7, 5, size))
    np.testing.assert_array_equal(q.sample(normal(3, 7, 5, size)), z)
    np.testing.assert_allclose(q.log_prob(z), log_q, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize(("name", "size"), [case for case in INVERTIBLE if case[0] != "full-gaussian"])
def test_each_step_is_undone_by_its_inverse(name, size):
    posterior, features = far_from_the_identity(name, size)
    for transform in posterior.distribution(features).transforms:
        z = normal(4, 7, 5, size)
        there, log_det = transform.forward(z)
        back, log_det_back = transform.inverse(there)
        assert float(tf.reduce_max(tf.abs(there - z))) > 0.1
        np.testing.assert_allclose(back, z, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "size"), [case for case in INVERTIBLE if case[1] <= 2])
def test_the_density_integrates_to_one(name, size):
    posterior, features = far_from_the_identity(name, size, scale=0.3)
    q = posterior.distribution(features[:1])
    center, points = q.mean().numpy()[0], 401
    axes = [np.linspace(c - 9.0, c + 9.0, points) for c in center]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, size)
    density = np.exp(q.log_prob(tf.constant(grid, tf.float32)).numpy().astype(np.float64))
    assert density.sum() * (18.0 / (points - 1)) ** size == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_the_importance_identity_of_planar(size, scale):
    """E_q[r(z) / q(z)] = 1 for any density r, here a narrow normal: q is normalized where r lies."""
    posterior, features = far_from_the_identity("planar", size, scale=scale)
    q = posterior.distribution(features[:1])
    z, log_q = (t.numpy().astype(np.float64)[:, 0] for t in q.sample_and_log_prob(normal(5, 100_000, 1, size)))
    center, width = q.mean().numpy()[0], 0.4 * z.std(axis=0)
    log_r = -0.5 * np.sum(np.log(2 * np.pi) + 2 * np.log(width) + np.square((z - center) / width), axis=-1)
    ratio = np.exp(log_r - log_q)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.03
    assert ratio.mean() == pytest.approx(1.0, abs=4.5 * error)


@pytest.mark.parametrize("size", [1, 2, 3, 20])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_each_planar_step_is_one_to_one(size, scale):
    """Along w a step is a function of one number, a + w.v tanh(a + b); bisection in float64 finds a back."""
    posterior, features = far_from_the_identity("planar", size, scale=scale)
    for planar in posterior.distribution(features).transforms:
        z = normal(9, 50, 5, size)
        there, log_det, w, b = (t.numpy().astype(np.float64) for t in (*planar.forward(z), planar.w, planar.b))
        u, squared = planar.u.numpy().astype(np.float64), np.square(w).sum(-1, keepdims=True)
        along = (w * u).sum(-1, keepdims=True)
        slope = np.log1p((np.e - 1.0) * np.exp(along)) - 1.0  # w.v
        target = (w * there).sum(-1, keepdims=True)
        low, high = target - np.abs(slope) - 1.0, target + np.abs(slope) + 1.0
        for _ in range(60):
            middle = (low + high) / 2.0
            below = middle + slope * np.tanh(middle + b) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        back = there - (u + (slope - along) * w / squared) * np.tanh(low + b)
        clear = log_det > -4.0  # elsewhere float32 has lost where a point came from
        assert clear.mean() > 0.9
        np.testing.assert_allclose(back[clear], z[clear], atol=5e-3)


def test_planar_stays_invertible_at_the_edge():
    """w.u far below -1 is what the constraint is for: the log-determinant stays finite, in value and gradient."""
    from vaeflow_flows.planar import Planar

    w, z = tf.constant([[3.0, 4.0]]), normal(6, 50, 1, 2, scale=0.01)
    for along in (-300.0, -40.0, -1.0, 0.0, 40.0):
        u = tf.Variable(along * w / 25.0)
        with tf.GradientTape() as tape:
            _, log_det = Planar(w, u, tf.constant([[0.1]])).forward(z)
        assert np.isfinite(log_det).all()
        assert np.isfinite(tape.gradient(log_det, u)).all()


def test_planar_without_u_is_the_identity():
    from vaeflow_flows.planar import Planar

    z = normal(7, 3, 5, 2)
    for length in (1e-4, 1.0, 10.0):
        same, log_det = Planar(normal(8, 5, 2, scale=length), tf.zeros((5, 2)), tf.ones((5, 1))).forward(z)
        np.testing.assert_allclose(same, z, atol=1e-2 if length < 1e-3 else 1e-5)
        np.testing.assert_allclose(log_det, np.zeros((3, 5)), atol=1e-6)

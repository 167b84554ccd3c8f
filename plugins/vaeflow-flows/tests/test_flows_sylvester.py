"""Sylvester flows against Jacobians, a NumPy inverse, an integral, orthogonality and the planar flow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from vaeflow_flows import bases, posteriors
from vaeflow_flows.planar import Planar
from vaeflow_flows.sylvester import Sylvester

EXAMPLES, FEATURES = 3, 4
VARIANTS = ["orthogonal", "householder", "triangular"]


def normal(seed, *shape, scale=1.0):
    return tf.constant(np.random.default_rng(seed).normal(scale=scale, size=shape), tf.float32)


def random_q(variant, size, *, seed=0, scale=1.0, depth=1):
    """Return q(z given x) of a posterior whose variables are all random, for EXAMPLES examples."""
    posterior = posteriors.sylvester(size, variant=variant, depth=depth)
    posterior.distribution(tf.zeros((1, FEATURES)))
    for number, variable in enumerate(posterior.trainable_variables):
        variable.assign(normal((seed, number), *variable.shape, scale=scale))
    return posterior.distribution(normal((seed, 99), EXAMPLES, FEATURES))


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(VARIANTS), st.integers(1, 5), st.integers(0, 2**31), st.floats(0.05, 1.5))
def test_log_determinants_are_those_of_jacobians(variant, size, seed, scale):
    for transform in random_q(variant, size, seed=seed, scale=scale).transforms:
        z = normal(seed, EXAMPLES, size)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(z)
            there, log_det = (one[0] for one in transform.forward(z[None]))
        jacobian = tape.batch_jacobian(there, z, experimental_use_pfor=False).numpy().astype(np.float64)
        sign, expected = np.linalg.slogdet(jacobian)
        assert (sign > 0).all()
        clear = expected > -6.0  # elsewhere float32 has cancelled most of the Jacobian
        np.testing.assert_allclose(log_det[clear], expected[clear], rtol=1e-4, atol=2e-3)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31), st.floats(1e-3, 30.0))
def test_columns_are_orthonormal(size, count, seed, scale):
    vectors = normal(seed, EXAMPLES, size, count, scale=scale)
    q = bases.reflections(vectors).numpy()
    np.testing.assert_allclose(np.swapaxes(q, 1, 2) @ q, np.broadcast_to(np.eye(size), q.shape), atol=5e-5)
    product = np.eye(size)
    for u in np.moveaxis(vectors.numpy().astype(np.float64), 2, 0):
        unit = u / np.linalg.norm(u, axis=-1, keepdims=True)
        product = product @ (np.eye(size) - 2.0 * unit[:, :, None] * unit[:, None, :])
    np.testing.assert_allclose(q, product, atol=5e-4)
    few = vectors[..., : min(size, count)]
    columns = bases.orthonormal(few).numpy()
    np.testing.assert_allclose(
        np.swapaxes(columns, 1, 2) @ columns,
        np.broadcast_to(np.eye(few.shape[2]), (EXAMPLES, few.shape[2], few.shape[2])),
        atol=1e-5,
    )


def test_columns_of_nearly_dependent_vectors_are_orthonormal():
    """The paper's iteration, 16 times from vectors of length 1, leaves an error of 0.5 here."""
    vectors = normal(0, EXAMPLES, 20, 7)
    nearly = tf.concat([vectors, vectors[..., :1] + 1e-5 * normal(1, EXAMPLES, 20, 1)], axis=-1)
    columns = bases.orthonormal(nearly).numpy()
    np.testing.assert_allclose(np.swapaxes(columns, 1, 2) @ columns, np.broadcast_to(np.eye(8), (3, 8, 8)), atol=1e-5)


def undone(transform, there):
    """Return the z that a step moves to `there` [N, D], for the first example, in float64, without the step's code.

    In the coordinates Q^T z the step is triangular: from the last coordinate up, each is the root of an increasing
    function of one number, which bisection finds.
    """
    size = transform.outer.shape[-1]
    eye = tf.eye(there.shape[-1])[:, None] + tf.zeros((1, EXAMPLES, 1))
    q = np.asarray(transform.basis.coordinates(eye), np.float64)[:, 0]  # [D, M]
    outer, inner, b = (np.asarray(t[0], np.float64) for t in (transform.outer, transform.inner, transform.b))
    target = there @ q
    w, h = np.zeros((len(there), size)), np.zeros((len(there), size))
    for i in reversed(range(size)):
        known = h[:, i + 1 :] @ outer[i, i + 1 :]
        inside = w[:, i + 1 :] @ inner[i, i + 1 :] + b[i]
        low, high = (target[:, i] - known + side * (abs(outer[i, i]) + 1e-9) for side in (-1.0, 1.0))
        for _ in range(60):
            middle = (low + high) / 2.0
            below = middle + outer[i, i] * np.tanh(inner[i, i] * middle + inside) + known < target[:, i]
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        w[:, i], h[:, i] = low, np.tanh(inner[i, i] * low + inside)
    return there - h @ outer.T @ q.T


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_each_step_is_one_to_one(variant, size):
    q = random_q(variant, size, scale=0.7)
    for transform in q.transforms:
        z = normal(7, 50, EXAMPLES, size)
        there, log_det = transform.forward(z)
        assert float(tf.reduce_max(tf.abs(there - z))) > 0.1
        clear = log_det.numpy()[:, 0] > -6.0  # elsewhere float32 has lost where a point came from
        assert clear.mean() > 0.9
        np.testing.assert_allclose(undone(transform, there.numpy()[:, 0])[clear], z[:, 0][clear], atol=5e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_density_integrates_to_one(variant):
    """The density at the points of a grid is that at the noise that leads to them, by the inverse in NumPy."""
    q = random_q(variant, 2, scale=0.4, depth=2)
    side = np.linspace(-12.0, 12.0, 241)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2) + q.mean().numpy()[0]
    z = grid
    for transform in reversed(q.transforms):
        z = undone(transform, z)
    noise = (z - q.base.mu.numpy()[0]) * np.exp(-0.5 * q.base.log_var.numpy()[0])
    near = (np.abs(noise) < 7.0).all(axis=1)
    repeated = tf.constant(np.repeat(noise[near][:, None], EXAMPLES, axis=1), tf.float32)
    there, log_q = q.sample_and_log_prob(repeated)
    np.testing.assert_allclose(there[:, 0], grid[near], atol=1e-2)
    assert np.exp(log_q.numpy()[:, 0].astype(np.float64)).sum() * 0.1**2 == pytest.approx(1.0, abs=2e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31), st.floats(-0.95, 0.95), st.floats(0.05, 0.99))
def test_one_column_is_a_planar_step(size, seed, outer, inner):
    """With M = 1 it is planar with w = r~ q and v = r q; u is what the planar step makes this v of."""
    q = bases.orthonormal(normal(seed, EXAMPLES, size, 1))
    b = normal(seed + 1, EXAMPLES, 1)
    matrices = (tf.fill((EXAMPLES, 1, 1), value) for value in (outer, inner))
    sylvester = Sylvester(bases.Columns(q), *matrices, b)
    along = np.log(np.expm1(1.0 + outer * inner)) - np.log(np.e - 1.0)
    planar = Planar(inner * q[..., 0], along / inner * q[..., 0], b)
    z = normal(seed + 2, 2, EXAMPLES, size)
    for got, expected in zip(sylvester.forward(z), planar.forward(z), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_it_stays_invertible_at_the_edge():
    """However large the features: r r~ stays above -1, and the log-determinant finite, in value and gradient."""
    posterior = posteriors.sylvester(3, depth=1)
    features = tf.Variable(normal(0, EXAMPLES, FEATURES))
    posterior.distribution(features)
    for variable in posterior.trainable_variables:
        variable.assign(1e3 * normal(1, *variable.shape))
    with tf.GradientTape() as tape:
        transform = posterior.distribution(features).transforms[0]
        _, log_det = transform.forward(normal(2, 50, EXAMPLES, 3, scale=1e-3))
    assert np.isfinite(log_det).all()
    assert np.isfinite(tape.gradient(log_det, features)).all()
    products = tf.linalg.diag_part(transform.outer) * tf.linalg.diag_part(transform.inner)
    assert float(tf.reduce_min(products)) > -1.0

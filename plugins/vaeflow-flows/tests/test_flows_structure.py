"""What sees what, by Jacobians: autoregressive steps are triangular, coupling steps keep a half."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import masks, posteriors

SIZE = 5


def randomized(posterior):
    posterior.distribution(tf.zeros((1, 3)))
    for seed, variable in enumerate(posterior.trainable_variables):
        variable.assign(np.random.default_rng(seed).normal(scale=0.5, size=variable.shape))
    return posterior


def jacobian(function, z):
    """Return d function / dz [D, D] for one example."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        value = function(z[None, None])[0, 0]
    return tape.jacobian(value, z, experimental_use_pfor=False).numpy()


def transforms(name, **options):
    posterior = randomized(getattr(posteriors, name)(SIZE, depth=2, **options))
    return posterior.distribution(tf.ones((1, 3))).transforms


@pytest.mark.parametrize("name", ["iaf", "maf"])
@pytest.mark.parametrize("hidden", [(7,), (16, 11), (5, 9, 6)])
def test_outputs_see_exactly_the_latents_of_lower_rank(name, hidden):
    z = tf.linspace(-1.0, 1.0, SIZE)
    for number, transform in enumerate(transforms(name, hidden=hidden)):
        order = slice(None, None, -1 if number % 2 else 1)
        for output in range(2):
            seen = jacobian(lambda z, t=transform, o=output: t.network(z)[o], z)[order, order]
            below = np.tril(np.ones((SIZE, SIZE), bool), -1)
            assert (seen[~below] == 0.0).all()
            assert (seen[below] != 0.0).all()


@pytest.mark.parametrize("name", ["iaf", "maf"])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_steps_are_triangular_both_ways(name, direction):
    z = tf.linspace(-1.0, 1.0, SIZE)
    for number, transform in enumerate(transforms(name, hidden=(16,))):
        order = slice(None, None, -1 if number % 2 else 1)
        found = jacobian(lambda z, t=transform: getattr(t, direction)(z)[0], z)[order, order]
        np.testing.assert_array_equal(found[np.triu_indices(SIZE, 1)], 0.0)
        assert (found.diagonal() > 0.0).all()


def test_coupling_keeps_one_half_and_then_the_other():
    z = tf.linspace(-1.0, 1.0, SIZE)
    first, second = (jacobian(lambda z, t=t: t.forward(z)[0], z) for t in transforms("coupling", hidden=(16,)))
    kept, eye = slice(0, 2), np.eye(SIZE)
    np.testing.assert_array_equal(first[kept], eye[kept])
    np.testing.assert_array_equal(second[2:], eye[2:])
    for found, changed, given in ((first, slice(2, 5), kept), (second, kept, slice(2, 5))):
        assert (found[changed, given] != 0.0).all()
        within = found[changed, changed]
        np.testing.assert_array_equal(within, np.diag(within.diagonal()))


@pytest.mark.parametrize("size", [1, 2, 3, 20])
@pytest.mark.parametrize("hidden", [(2,), (3, 2), (64,), (7, 64, 20)])
@pytest.mark.parametrize("reverse", [False, True])
def test_products_of_masks_connect_lower_ranks_only(size, hidden, reverse):
    first, *later = masks.autoregressive(size, hidden, reverse=reverse)
    paths = np.linalg.multi_dot([first, *later])
    rank = masks.ranks(size, reverse=reverse)
    for half in np.split(paths, 2, axis=1):
        assert (half[rank[:, None] >= rank[None, :]] == 0).all()
    if size > 1:
        assert all(mask.any() for mask in (first, *later))
    if min(hidden) >= size:
        assert (paths[:, :size][rank[:, None] < rank[None, :]] > 0).all()

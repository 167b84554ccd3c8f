"""The objective `kl-balancing` against its formula in NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_hierarchical.balancing import kl_balancing

from vaeflow.components import schedules
from vaeflow.contracts import Timeline

RNG = np.random.default_rng(0)
LOGS = RNG.normal(size=(2, 4)).astype(np.float32)
KL = {"top": RNG.random((4, 3)).astype(np.float32), "low": 5.0 * RNG.random((4, 1)).astype(np.float32)}
VALID = np.array([1, 1, 1, 0], np.float32)
TERMS = SimpleNamespace(
    log_likelihood=tf.constant(LOGS),
    kl_terms={name: tf.constant(one) for name, one in KL.items()},
    z={"top": tf.zeros((2, 4, 3)), "low": tf.zeros((2, 4, 2, 5))},
    valid=tf.constant(VALID),
)


def loss_at(step):
    warm_up = schedules.linear(Timeline(10, 100), epochs=10)
    return warm_up, kl_balancing().loss(TERMS, warm_up, tf.constant(step, tf.int64))


def test_it_is_the_formula_during_the_warm_up():
    warm_up, loss = loss_at(50)
    weight = float(warm_up.weight(tf.constant(50, tf.int64)))
    assert 0.0 < weight < 1.0
    kl = np.stack([KL["top"].sum(1), KL["low"].sum(1)])
    gamma = np.array([3, 10]) * ((kl * VALID).sum(1) / 3 + 0.01)
    gamma /= gamma.mean()
    np.testing.assert_allclose(loss, -LOGS.mean(0) + weight * gamma @ kl, rtol=1e-5)


def test_it_is_the_elbo_after_the_warm_up():
    _, loss = loss_at(200)
    np.testing.assert_allclose(loss, -LOGS.mean(0) + KL["top"].sum(1) + KL["low"].sum(1), rtol=1e-5)


def test_the_weights_of_groups_have_no_gradient():
    kl = {name: tf.constant(one) for name, one in KL.items()}
    warm_up = schedules.linear(Timeline(10, 100), epochs=10)
    with tf.GradientTape() as tape:
        tape.watch(kl)
        terms = SimpleNamespace(**{**vars(TERMS), "kl_terms": kl})
        loss = kl_balancing().loss(terms, warm_up, tf.constant(50, tf.int64))
    gradient = tape.gradient(loss, kl)
    assert np.unique(gradient["top"]).size == np.unique(gradient["low"]).size == 1
    ratio = float(gradient["low"][0, 0] / gradient["top"][0, 0])
    means = {name: (one.sum(1) * VALID).sum() / 3 + 0.01 for name, one in KL.items()}
    assert ratio == pytest.approx(10 * means["low"] / (3 * means["top"]), rel=1e-5)

"""Importance weighted bounds and their gradients, free bits, and the discrepancy of the InfoVAE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from helpers import by_hand

from vaeflow.components import objectives, schedules
from vaeflow.components.mean_discrepancy import discrepancy
from vaeflow.contracts import Terms, Timeline
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.path_gradient import PathGradient

SCHEDULE = schedules.constant(Timeline(1, 1))
STEP = tf.constant(0, tf.int64)
A, B, S, X = 1.5, 0.3, 0.7, 2.0
"""p(z) = N(0, 1) and p(x given z) = N(A z + B, S^2), so that p(x) = N(B, A^2 + S^2)."""


def linear_terms(samples: int, rows: int) -> Terms:
    """Terms of many copies of one example, with a posterior that is not the true one."""
    q = DiagonalNormal(tf.fill((rows, 1), 0.5), tf.fill((rows, 1), -1.0))
    z = q.sample(tf.random.stateless_normal((samples, rows, 1), (samples, 7)))
    log_likelihood = scipy.stats.norm.logpdf(X, A * z[..., 0].numpy() + B, S).astype(np.float32)
    return Terms(
        log_likelihood=tf.constant(log_likelihood),
        kl_terms={"z": tf.zeros((rows, 1))},
        z={"z": z},
        log_q=q.log_prob(z),
        q={"z": q},
        p={"z": StandardNormal(1)},
        p_x=StandardNormal(1),
    )


def test_bounds_rise_with_samples_to_the_log_likelihood():
    found = []
    for samples in (1, 2, 8, 64, 512):
        loss = objectives.iwae(samples=samples).loss(linear_terms(samples, 2000), SCHEDULE, STEP).numpy()
        found.append((-loss.mean(), loss.std() / np.sqrt(len(loss))))
    exact = scipy.stats.norm.logpdf(X, B, np.hypot(A, S))
    bounds, errors = np.array(found).T
    assert (np.diff(bounds) > 3.0 * errors[1:]).all()
    assert bounds[-1] == pytest.approx(exact, abs=0.02)
    assert (bounds < exact + 4.0 * errors).all()


SAMPLES = 5


@pytest.fixture(scope="module")
def model():
    model = by_hand.trained_on(by_hand.rows()).model
    for index, variable in enumerate(model.trainable_variables):
        variable.assign_add(0.5 * tf.random.stateless_normal(variable.shape, (index, 3)))
    return model


def gradients(model, gradient, noise):
    """Return the gradient of the loss with respect to the weights of q, and those of p(x given z)."""
    x, objective = tf.constant(by_hand.rows().train.x[:4]), objectives.iwae(samples=SAMPLES, gradient=gradient)
    weights = [[v.value for v in part.trainable_variables] for part in (model.encoder, model.posterior, model.decoder)]
    path = PathGradient() if objective.path_gradient else None
    with tf.GradientTape() as tape:
        terms = replace(model.terms(x, noise, path=path), path=path)
        loss = tf.reduce_sum(objective.loss(terms, SCHEDULE, STEP))
    found = tape.gradient(loss, [weights[0] + weights[1], weights[2]])
    return [np.concatenate([np.ravel(one) for one in group]) for group in found]


def by_definition(model, noise, power):
    """Return the sum over samples of w~^power times the gradient of log w through z alone, from its parts."""
    x = tf.constant(by_hand.rows().train.x[:4])
    terms = model.terms(x, noise)
    log_w = terms.log_likelihood + terms.log_p - terms.log_q
    normalized = tf.nn.softmax(log_w, axis=0)
    z, q = tf.Variable(terms.z["z"]), terms.q["z"]
    fixed = DiagonalNormal(tf.constant(q.mu.numpy()), tf.constant(q.log_var.numpy()))
    with tf.GradientTape() as tape:
        p_x = model.decode({"z": z})
        total = tf.reduce_sum(p_x.log_prob(x) + StandardNormal(z.shape[-1]).log_prob(z) - fixed.log_prob(z))
    through_z = tape.gradient(total, z) * (normalized**power)[..., None]
    weights = [v.value for part in (model.encoder, model.posterior) for v in part.trainable_variables]
    with tf.GradientTape() as tape:
        moved = -tf.reduce_sum(tf.stop_gradient(through_z) * model.terms(x, noise).z["z"])
    return np.concatenate([np.ravel(one) for one in tape.gradient(moved, weights)])


def noise_of(number):
    return tf.random.stateless_normal((SAMPLES, 4, 2), (number, 11))


@pytest.mark.parametrize(("gradient", "power"), [("sticking-the-landing", 1), ("doubly-reparameterized", 2)])
def test_gradients_are_those_of_the_papers(model, gradient, power):
    found, _ = gradients(model, gradient, noise_of(0))
    np.testing.assert_allclose(found, by_definition(model, noise_of(0), power), rtol=1e-3, atol=1e-5)


def test_the_generative_gradient_is_the_same(model):
    total, stuck, doubly = (
        gradients(model, one, noise_of(1))[1] for one in ("total", "sticking-the-landing", "doubly-reparameterized")
    )
    np.testing.assert_allclose(stuck, total, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(doubly, total, rtol=1e-4, atol=1e-6)


def test_doubly_reparameterized_has_the_same_mean_and_less_variance(model):
    total, doubly = (
        np.array([gradients(model, one, noise_of(number))[0] for number in range(300)])
        for one in ("total", "doubly-reparameterized")
    )
    difference = total - doubly
    errors = difference.std(axis=0) / np.sqrt(len(difference)) + 1e-6
    assert (np.abs(difference.mean(axis=0)) < 5.0 * errors).all()
    assert doubly.var(axis=0).sum() < 0.8 * total.var(axis=0).sum()


@pytest.mark.parametrize("per", ["dimension", "group"])
def test_free_bits_cost_nothing_below_them(per):
    kl = np.array([[0.1, 2.0], [0.3, 4.0], [50.0, 50.0]], np.float32)
    terms = Terms(
        log_likelihood=tf.constant([[-1.0, -2.0, -7.0]]),
        kl_terms={"z": tf.constant(kl)},
        z={"z": tf.zeros((1, 3, 2))},
        log_q=tf.zeros((1, 3)),
        q={"z": StandardNormal(2)},
        p={"z": StandardNormal(2)},
        p_x=StandardNormal(2),
        valid=tf.constant([1.0, 1.0, 0.0]),
    )
    found = objectives.free_bits(nats=0.5, per=per).loss(terms, SCHEDULE, STEP).numpy()
    mean = kl[:2].mean(axis=0) if per == "dimension" else kl[:2].sum(axis=1).mean(keepdims=True)
    np.testing.assert_allclose(found[:2], np.array([1.0, 2.0]) + np.maximum(0.5, mean).sum(), rtol=1e-6)


def test_the_discrepancy_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    z, other = rng.normal(size=(2, 5, 3)).astype(np.float32)
    valid = np.array([1, 1, 1, 1, 0], np.float32)

    def kernel(a, b):
        return np.exp(-((a[:4, None] - b[None, :4]) ** 2).sum(axis=-1) / 3.0).mean()

    found = float(discrepancy(tf.constant(z), tf.constant(other), tf.constant(valid)))
    assert found == pytest.approx(kernel(z, z) + kernel(other, other) - 2.0 * kernel(z, other), abs=1e-6)


def test_the_discrepancy_of_two_gaussians_is_the_closed_form():
    rng, width, shift = np.random.default_rng(1), 2, 1.5
    z, other = rng.normal(size=(2, 3000, width)).astype(np.float32)
    factor = (1.0 + 4.0 / width) ** (-width / 2)  # of the mean of exp(-|a - b|^2 / D), a - b ~ N(0, 2 I)
    distance = width * shift**2
    between = factor * np.exp(-distance / (width + 4.0))
    found = float(discrepancy(tf.constant(z + np.float32(shift)), tf.constant(other), tf.ones((3000,))))
    assert found == pytest.approx(2.0 * factor - 2.0 * between, abs=0.02)

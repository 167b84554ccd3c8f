"""Importance weighted bounds and their gradients, free bits, and the discrepancy of the InfoVAE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.linear_gaussian import LinearGaussian, PosteriorOfRows
from scipy import special

from vaeflow.components import objectives, schedules
from vaeflow.components.mean_discrepancy import discrepancy, discrepancy_of
from vaeflow.contracts import Terms, Timeline
from vaeflow.data.batches import Batch
from vaeflow.engine.forward import forward, loss_of, path_of
from vaeflow.errors import UsageError
from vaeflow.model.distributions import StandardNormal
from vaeflow.model.path_gradient import log_q_along_samples
from vaeflow.plugins.registry import Registry
from vaeflow.training.sanity_check.step_parts import try_objective

TIMELINE = Timeline(1, 1)
SCHEDULE = schedules.constant(TIMELINE)
STEP = tf.constant(0, tf.int64)
ROWS, SAMPLES = 20_000, 5
LINEAR, OBSERVED = LinearGaussian.random(3), np.array([1.0, -2.0, 0.5, 2.0, -1.0])
MEAN, LOG_VAR = (one[0] for one in LINEAR.posterior(OBSERVED[None]))
LOG_VAR = np.log(LOG_VAR)
WRONG_MEAN, WRONG_LOG_VAR = MEAN + np.array([0.3, -0.2]), LOG_VAR + np.array([0.4, -0.3])


def noise_of(samples):
    return tf.random.stateless_normal((samples, ROWS, 2), (samples, 11))


def gradients(gradient, samples, mean=WRONG_MEAN, log_var=WRONG_LOG_VAR, *, weight=1.0):
    """Return the gradient of the loss for the mean and log variance of q, [ROWS, 4]: one row has one row's noise."""
    posterior = PosteriorOfRows(*(np.tile(one, (ROWS, 1)) for one in (mean, log_var)))
    model, objective = LINEAR.vae(posterior), objectives.iwae(samples=samples, gradient=gradient)
    x, schedule = tf.constant(np.tile(OBSERVED, (ROWS, 1)), tf.float32), schedules.constant(TIMELINE, weight=weight)
    batch = Batch(x, tf.ones((ROWS,)), tf.zeros((ROWS,), tf.int32), None)
    with tf.GradientTape() as tape:
        terms = forward(model, batch, noise_of(samples), training=True, path=path_of(objective))
        loss = tf.reduce_sum(loss_of(objective, terms, schedule, STEP))
    found = tape.gradient(loss, [v.value for v in posterior.trainable_variables])
    return np.concatenate(found, axis=1).astype(np.float64)


def by_finite_differences(samples, weight=1.0):
    """Return the gradient of the mean loss over the same noise, [4], in float64 by NumPy."""
    at, noise, step = np.concatenate([WRONG_MEAN, WRONG_LOG_VAR]), np.asarray(noise_of(samples), np.float64), 1e-4

    def loss(one):
        log_w = LINEAR.log_weights(OBSERVED, one[:2], one[2:], noise, weight)
        return -np.mean(special.logsumexp(log_w, axis=0) - np.log(samples))

    return np.array([(loss(at + d) - loss(at - d)) / (2.0 * step) for d in step * np.eye(4)])


def errors_of(values):
    return values.std(axis=0) / np.sqrt(len(values)) + 1e-4


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_the_total_gradient_is_that_of_finite_differences(weight):
    found = gradients("total", SAMPLES, weight=weight).mean(axis=0)
    np.testing.assert_allclose(found, by_finite_differences(SAMPLES, weight), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weight", [1.0, 0.4, 0.0])
def test_doubly_reparameterized_is_unbiased(weight):
    total, doubly = (gradients(one, SAMPLES, weight=weight) for one in ("total", "doubly-reparameterized"))
    difference = total - doubly
    assert (np.abs(difference.mean(axis=0)) < 5.0 * errors_of(difference)).all()


def test_with_one_sample_both_have_the_mean_of_the_elbo():
    expected = np.concatenate(
        [
            (WRONG_MEAN - MEAN) / np.exp(LOG_VAR),  # of KL(q, p(z given x)), which is log p(x) - ELBO
            0.5 * (np.exp(WRONG_LOG_VAR - LOG_VAR) - 1.0),
        ]
    )
    for gradient in ("total", "sticking-the-landing", "doubly-reparameterized"):
        found = gradients(gradient, 1)
        assert (np.abs(found.mean(axis=0) - expected) < 5.0 * errors_of(found)).all(), gradient


def test_less_variance_than_the_total_gradient():
    total, stuck, doubly = (
        gradients(one, SAMPLES).var(axis=0) for one in ("total", "sticking-the-landing", "doubly-reparameterized")
    )
    assert (stuck < 0.8 * total).all()
    assert (doubly < 0.8 * stuck).all()


@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_at_the_true_posterior_the_gradient_sticks(samples):
    for gradient in ("sticking-the-landing", "doubly-reparameterized"):
        assert np.abs(gradients(gradient, samples, MEAN, LOG_VAR)).max() < 1e-4
    assert gradients("total", samples, MEAN, LOG_VAR).std(axis=0).min() > 0.1


def test_the_generative_gradient_is_the_same():
    model, x = LINEAR.vae(), tf.constant(np.random.default_rng(0).normal(size=(4, 5)), tf.float32)
    batch, found = Batch(x, tf.ones((4,)), tf.zeros((4,), tf.int32), None), []
    for gradient in ("total", "sticking-the-landing", "doubly-reparameterized"):
        objective = objectives.iwae(samples=SAMPLES, gradient=gradient)
        with tf.GradientTape() as tape:
            terms = forward(model, batch, builders.normal_noise(SAMPLES, 4, 2), training=True, path=path_of(objective))
            loss = tf.reduce_sum(loss_of(objective, terms, SCHEDULE, STEP))
        found.append(np.concatenate([np.ravel(g) for g in tape.gradient(loss, model.decoder.trainable_weights)]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)


def test_microbatches_and_xla_do_not_change_its_gradient():
    objective = objectives.iwae(samples=3, gradient="doubly-reparameterized")
    (whole, row), (split, other_row) = (
        builders.gradients_by_sgd(builders.Training(objective=objective, microbatches=count, xla=xla), step=2)
        for count, xla in ((1, False), (3, True))  # the last batch of an epoch: 3 examples, the others are padding
    )
    for one, other in zip(whole, split, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other_row, row, rtol=1e-4, atol=1e-6)


def test_one_sample_is_the_elbo_and_its_weight():
    terms = LINEAR.vae().terms(tf.constant(OBSERVED[None], tf.float32), builders.normal_noise(1, 1, 2))
    for weight in (1.0, 0.3):
        schedule = schedules.constant(TIMELINE, weight=weight)
        loss = objectives.iwae(samples=1).loss(terms, schedule, STEP)
        expected = -terms.log_likelihood[0] + weight * (terms.log_q - terms.log_p)[0]
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def tried(model, schedule, **options):
    bound = Registry.load().get("objective", "iwae").bind(options, "objective")
    try_objective(bound, bound.build(), schedule, model)


def test_a_schedule_without_a_weight_is_refused():
    model = builders.tiny_vae()
    for schedule in (schedules.linear(TIMELINE), schedules.cyclical(TIMELINE, end=1000.0)):
        tried(model, schedule)
    with pytest.raises(UsageError, match="this kl_schedule's penalty is not weight"):
        tried(model, schedules.capacity(TIMELINE))


def test_a_model_without_a_path_is_refused():
    class Without:
        def terms(self, x, noise, *, labels=None, valid=None, training=False):
            raise AssertionError

    with pytest.raises(UsageError, match="its terms has no keyword 'path'"):
        tried(Without(), SCHEDULE, gradient="sticking-the-landing")


def test_a_posterior_without_a_density_is_refused():
    class Only:
        def sample_and_log_prob(self, noise):
            return noise, tf.zeros(noise.shape[:2])

    with pytest.raises(UsageError, match=r"needs the posterior's log_prob\(z\): its distribution Only has none"):
        log_q_along_samples(Only(), tf.zeros((1, 1, 2)))


def terms_of(kl, groups=("z",), width=2):
    """Return terms of three examples, of which the last is padding."""
    return Terms(
        log_likelihood=tf.constant([[-1.0, -2.0, -7.0]]),
        kl_terms={name: tf.constant(kl) for name in groups},
        z={name: tf.zeros((1, 3, width)) for name in groups},
        log_q=tf.zeros((1, 3)),
        q={name: StandardNormal(width) for name in groups},
        p={name: StandardNormal(width) for name in groups},
        p_x=StandardNormal(width),
        valid=tf.constant([1.0, 1.0, 0.0]),
    )


KL = np.array([[0.1, 2.0], [0.3, 4.0], [50.0, 50.0]], np.float32)


@pytest.mark.parametrize(("per", "cost"), [("dimension", 0.5 + 3.0), ("group", 3.2)])
def test_free_bits_cost_nothing_below_them(per, cost):
    loss, terms = objectives.free_bits(nats=0.5, per=per).loss, terms_of(KL)
    for schedule, weighted in (
        (SCHEDULE, cost),
        (schedules.constant(TIMELINE, weight=0.5), 0.5 * cost),
        (schedules.capacity(TIMELINE, gamma=10.0, nats=1.0, epochs=1), 10.0 * (cost - 1.0)),
    ):
        found = loss(terms, schedule, tf.constant(1, tf.int64)).numpy()
        np.testing.assert_allclose(found[:2], np.array([1.0, 2.0]) + weighted, rtol=1e-6)


def test_free_bits_of_groups_are_added():
    found = objectives.free_bits(nats=0.5).loss(terms_of(KL, ("a", "b")), SCHEDULE, STEP).numpy()
    np.testing.assert_allclose(found[:2], np.array([1.0, 2.0]) + 2.0 * (0.5 + 3.0), rtol=1e-6)


def test_free_bits_have_no_gradient_below_them():
    kl = tf.constant(KL)
    with tf.GradientTape() as tape:
        tape.watch(kl)
        terms = replace(terms_of(KL), kl_terms={"z": kl})
        loss = tf.reduce_sum(objectives.free_bits(nats=0.5).loss(terms, SCHEDULE, STEP) * terms.valid)
    np.testing.assert_array_equal(tape.gradient(loss, kl), [[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])


def test_info_vae_weighs_kl_and_discrepancy():
    terms = terms_of(KL)
    apart = float(discrepancy_of(terms, STEP))
    assert apart > 0.05
    for alpha, scale in ((0.0, 1.0), (0.25, 3.0), (1.0, 10.0)):
        found = objectives.info_vae(alpha=alpha, scale=scale).loss(terms, SCHEDULE, STEP).numpy()
        expected = np.array([1.0, 2.0]) + (1.0 - alpha) * KL[:2].sum(axis=1) + (alpha + scale - 1.0) * apart
        np.testing.assert_allclose(found[:2], expected, rtol=1e-5)


def test_info_vae_refuses_what_it_can_not_compute():
    with pytest.raises(UsageError, match=r"give the discrepancy the weight alpha \+ scale - 1 = -0.5"):
        objectives.info_vae(alpha=0.25, scale=0.25)
    with pytest.raises(UsageError, match=r"one group of latents, a vector; it has a \[2\], b \[2\]"):
        discrepancy_of(terms_of(KL, ("a", "b")), STEP)


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

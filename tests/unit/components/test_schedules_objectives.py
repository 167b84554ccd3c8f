"""Schedules at chosen steps, the capacity's penalty, the beta-VAE's loss."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.components import objectives, schedules
from vaeflow.contracts import Terms, Timeline
from vaeflow.model.distributions import DiagonalNormal, StandardNormal

TIMELINE = Timeline(steps_per_epoch=100, total_steps=2000)
KL = tf.constant([0.0, 3.0, 10.0])


def weight(schedule, step: int) -> float:
    value = schedule.weight(tf.constant(step, tf.int64))
    assert value.dtype == tf.float32
    assert value.shape == ()
    return float(value)


def terms(log_likelihood: list[list[float]], kl: list[float]) -> Terms:
    q = DiagonalNormal(tf.zeros((len(kl), 1)), tf.zeros((len(kl), 1)))
    divergence = tf.constant(kl)
    z = tf.zeros((len(log_likelihood), len(kl), 1))
    return Terms(
        log_likelihood=tf.constant(log_likelihood),
        kl_terms={"z": divergence[:, None]},
        z={"z": z},
        log_q=q.log_prob(z),
        q={"z": q},
        p={"z": StandardNormal(1)},
        p_x=StandardNormal(1),
    )


@given(step=st.integers(0, 10**9))
@builders.examples(10)
def test_constant_is_the_same_at_every_step(step):
    assert weight(schedules.constant(TIMELINE), step) == 1.0
    assert weight(schedules.constant(TIMELINE, weight=0.25), step) == 0.25


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.5), (1, 0.5 + 1.5 / 400), (200, 1.25), (399, 2.0 - 1.5 / 400), (400, 2.0), (401, 2.0), (10**9, 2.0)],
)
def test_linear_goes_from_start_to_end_and_stays(step, expected):
    assert weight(schedules.linear(TIMELINE, start=0.5, end=2.0, epochs=4), step) == pytest.approx(expected, rel=1e-6)


def test_linear_may_fall():
    falling = schedules.linear(TIMELINE, start=2.0, end=1.0, epochs=1)
    assert [weight(falling, s) for s in (0, 50, 100, 500)] == [2.0, 1.5, 1.0, 1.0]


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (25, 0.25), (50, 0.5), (100, 1.0), (150, 1.0), (199, 1.0)])
@pytest.mark.parametrize("cycle", [0, 1, 7, 10**6])
def test_cyclical_repeats_its_ramp(step, expected, cycle):
    schedule = schedules.cyclical(TIMELINE, epochs=2, ramp=0.5)
    assert weight(schedule, step + 200 * cycle) == pytest.approx(expected, rel=1e-6)


def test_cyclical_of_a_whole_ramp_never_rests():
    schedule = schedules.cyclical(TIMELINE, start=1.0, end=3.0, epochs=1, ramp=1.0)
    assert [weight(schedule, s) for s in (0, 50, 99, 100)] == pytest.approx([1.0, 2.0, 2.98, 1.0], rel=1e-6)


@given(step=st.integers(0, 3000), start=st.floats(0, 4), end=st.floats(0, 4), epochs=st.floats(0.1, 30))
@builders.examples(25)
def test_ramp_stays_in_range_and_its_penalty_is_weight_times_kl(step, start, end, epochs):
    for build in (schedules.linear, schedules.cyclical):
        schedule = build(TIMELINE, start=start, end=end, epochs=epochs)
        value = weight(schedule, step)
        assert min(start, end) * (1 - 1e-6) - 1e-6 <= value <= max(start, end) * (1 + 1e-6) + 1e-6
        np.testing.assert_allclose(schedule.penalty(KL, tf.constant(step, tf.int64)), value * KL.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("step", "target"), [(0, 0.0), (100, 3.0), (250, 7.5), (500, 15.0), (501, 15.0), (9999, 15.0)])
def test_capacity_penalises_the_distance_from_what_has_grown(step, target):
    schedule = schedules.capacity(TIMELINE, gamma=10.0, nats=15.0, epochs=5)
    assert weight(schedule, step) == 10.0
    penalty = schedule.penalty(KL, tf.constant(step, tf.int64))
    assert penalty.dtype == tf.float32
    np.testing.assert_allclose(penalty, 10.0 * np.abs(KL.numpy() - target), rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "beta"),
    [
        (objectives.elbo(samples=2), 1.0),
        (objectives.beta_vae(samples=2), 4.0),
        (objectives.beta_vae(beta=0.5, samples=2), 0.5),
    ],
)
def test_loss_is_reconstruction_and_weighted_divergence(objective, beta):
    known = terms([[-10.0, -20.0], [-14.0, -30.0]], [2.0, 3.0])
    assert objective.samples == 2
    for schedule, expected in (
        (schedules.constant(TIMELINE), [12.0 + beta * 2.0, 25.0 + beta * 3.0]),
        (schedules.linear(TIMELINE, epochs=2), [12.0 + beta * 0.5 * 2.0, 25.0 + beta * 0.5 * 3.0]),
        (schedules.capacity(TIMELINE, gamma=7.0, nats=5.0, epochs=1), [12.0 + beta * 21.0, 25.0 + beta * 14.0]),
    ):
        loss = objective.loss(known, schedule, tf.constant(100, tf.int64))
        assert loss.dtype == tf.float32
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_beta_zero_is_an_autoencoder():
    loss = objectives.beta_vae(beta=0.0).loss(terms([[-10.0]], [1e6]), schedules.constant(TIMELINE), tf.constant(0))
    assert float(loss[0]) == 10.0

"""The training step on a small model against the ELBO written out in float64, its bits, and what guards it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.builders import Training, batch_of, by_hand, column, gradients_by_sgd, relative, weights_of

from vaeflow.components import likelihoods, objectives, schedules
from vaeflow.contracts import Timeline
from vaeflow.engine.loss_scale import LossScale
from vaeflow.engine.microbatch import Microbatches
from vaeflow.engine.reduce import PlainSum
from vaeflow.engine.step import Trainer
from vaeflow.engine.step_row import StepRow
from vaeflow.model.moving_average import MovingAverage

FULL, SHORT = 0, 2  # steps of the 23 examples: batches of 10, 10 and 3


def norm(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(a).sum() for a in arrays)))


# What is differentiated


@pytest.mark.slow
@pytest.mark.parametrize("step", [FULL, SHORT])
@pytest.mark.parametrize("microbatches", [1, 2, 3, 10])
def test_gradient_is_that_of_the_mean_negative_elbo(step, microbatches):
    training = Training(microbatches=microbatches)
    expected, loss = by_hand(training, step)
    got, row = gradients_by_sgd(training, step)
    assert relative(got, expected) < 1e-6
    assert column(row, "examples") == (3 if step == SHORT else 10)
    assert column(row, "loss") == pytest.approx(loss, rel=1e-6)
    assert column(row, "elbo") == pytest.approx(-loss, rel=1e-6)
    assert column(row, "gradient_norm") == pytest.approx(norm(expected), rel=1e-5)
    assert column(row, "skipped") == 0.0


@pytest.mark.parametrize("microbatches", [1, 3])
def test_gradient_of_five_samples(microbatches):
    training = Training(microbatches=microbatches, objective=objectives.elbo(samples=5))
    expected, loss = by_hand(training, FULL, samples=5)
    got, row = gradients_by_sgd(training, FULL)
    assert relative(got, expected) < 1e-6
    assert column(row, "loss") == pytest.approx(loss, rel=1e-6)


def test_batches_larger_than_the_data_set_are_the_data_set():
    training = Training(batch_size=64, microbatches=3)
    expected, _ = by_hand(training, 1)
    got, row = gradients_by_sgd(training, 1)
    assert relative(got, expected) < 1e-6
    assert column(row, "examples") == 23


@pytest.mark.parametrize("change", [{"reduction": PlainSum()}, {"xla": True}, {"loss_scale": LossScale(1024.0)}])
def test_ways_to_compute_the_gradient_agree(change):
    training = Training(microbatches=3, **change)
    expected, loss = by_hand(training, SHORT)
    got, row = gradients_by_sgd(training, SHORT)
    assert relative(got, expected) < 1e-6
    assert column(row, "loss") == pytest.approx(loss, rel=1e-6)


def test_the_log_keeps_the_elbo_unweighted_and_its_terms_add_up():
    training = Training(microbatches=2, objective=objectives.beta_vae(beta=4.0))
    x, eps = batch_of(training, FULL)
    bound = float(tf.reduce_mean(builders.elbo_by_hand(training.model.trainable_variables, x, eps)))
    _, row = gradients_by_sgd(training, FULL)
    log_likelihood, kl = column(row, "log_likelihood"), column(row, "kl")
    assert column(row, "elbo") == pytest.approx(bound, rel=1e-6)
    assert log_likelihood - kl == pytest.approx(bound, rel=1e-6)
    assert column(row, "loss") == pytest.approx(-log_likelihood + 4.0 * kl, rel=1e-6)
    assert StepRow.unpack(row).kl_terms.sum() == pytest.approx(kl, rel=1e-5)
    assert column(row, "kl_weight") == 1.0
    assert column(row, "learning_rate") == builders.GRADIENT_RATE


# Bits


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_same_run_gives_the_same_bits(microbatches):
    def run() -> tuple[list[np.ndarray], np.ndarray]:
        training = Training(microbatches=microbatches, optimizer=keras.optimizers.Adam(0.01))
        rows = Trainer(training.step()).execute(0, 5)
        return weights_of(training.model), rows.numpy()

    (weights, rows), (again, rows_again) = run(), run()
    np.testing.assert_array_equal(rows, rows_again)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_steps_per_execution_changes_no_bits_and_no_traces():
    def run(*chunks: int) -> tuple[list[np.ndarray], np.ndarray]:
        training = Training(microbatches=3, optimizer=keras.optimizers.RMSprop(0.01))
        trainer, rows, first = Trainer(training.step()), [], 0
        for count in chunks:
            rows.append(trainer.execute(first, count).numpy())
            first += count
        assert trainer.traces == 1
        return weights_of(training.model), np.concatenate(rows)

    (weights, rows), (others, other_rows) = run(9), run(1, 3, 5)
    assert rows.shape == (9, len(StepRow._fields) - 1 + 2)
    np.testing.assert_array_equal(column(rows, "examples"), [10, 10, 3] * 3)
    np.testing.assert_array_equal(rows, other_rows)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_training_raises_the_elbo():
    pixels = np.tile(builders.binary_pixels(4, 6), (10, 1))
    training = Training(pixels=pixels, optimizer=keras.optimizers.Adam(0.02), ema=0.9)
    rows = Trainer(training.step()).execute(0, 200).numpy()
    assert column(rows, "elbo")[-20:].mean() > column(rows, "elbo")[:4].mean() + 0.5


# Clipping and averaging


@pytest.mark.slow
def test_clipping_scales_the_whole_gradient_to_the_norm():
    free, row = gradients_by_sgd(Training(microbatches=2), FULL)
    limit = 0.5 * norm(free)
    clipped, clipped_row = gradients_by_sgd(Training(microbatches=2, clip_norm=limit), FULL)
    assert norm(clipped) == pytest.approx(limit, rel=1e-5)
    assert relative(clipped, [0.5 * g for g in free]) < 1e-6
    assert column(clipped_row, "gradient_norm") == column(row, "gradient_norm")
    untouched, _ = gradients_by_sgd(Training(microbatches=2, clip_norm=2.0 * norm(free)), FULL)
    assert relative(untouched, free) < 1e-6


def test_moving_average_of_the_weights_by_hand():
    training = Training(optimizer=keras.optimizers.SGD(0.1), ema=0.75)
    step = training.step()
    averages = weights_of(training.model)
    for number in range(3):
        step(tf.constant(number, tf.int64))
        averages = [0.75 * a + 0.25 * w for a, w in zip(averages, weights_of(training.model), strict=True)]
    assert relative([v.numpy() for v in step.average.variables], averages) < 1e-6
    assert relative(averages, weights_of(training.model)) > 1e-3  # else this test says nothing


def test_a_model_computes_with_the_averages_inside_their_scope():
    training = Training(optimizer=keras.optimizers.SGD(0.1), ema=0.75)
    step = training.step()
    step(tf.constant(0, tf.int64))
    x = tf.constant(training.pixels)
    with keras.StatelessScope(state_mapping=step.average.mapping()):
        inside = training.model.encode(x)["z"]
    outside = training.model.encode(x)["z"]
    for weight, average in zip(training.model.trainable_variables, step.average.variables, strict=True):
        weight.assign(average)
    np.testing.assert_allclose(training.model.encode(x)["z"], inside, rtol=1e-6)
    assert not np.allclose(inside, outside)


def test_without_a_decay_there_is_no_average():
    average = MovingAverage(builders.tiny_vae().trainable_variables, None)
    assert average.variables == average.next() == average.mapping() == []


# Microbatches themselves


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 10])
def test_microbatches_past_the_end_add_nothing(microbatches):
    parts = Training(microbatches=microbatches).step().microbatches
    assert isinstance(parts, Microbatches)
    for step, expected in ((FULL, 10.0), (SHORT, 3.0)):
        sums = [parts.part(tf.constant(step, tf.int64), tf.constant(n, tf.int64)) for n in range(microbatches + 2)]
        assert sum(float(p.sums[0]) for p in sums) == expected
        for extra in sums[microbatches:]:
            assert all(not np.any(t) for t in tf.nest.flatten(extra))


def test_a_learned_variance_is_trained_with_the_model():
    likelihood = likelihoods.gaussian((6,), variance="shared")
    training = Training(model=builders.tiny_vae(likelihood=likelihood), optimizer=keras.optimizers.SGD(0.1))
    before = float(likelihood.log_var.value)
    training.step()(tf.constant(0, tf.int64))
    assert float(likelihood.log_var.value) != before


def test_schedules_see_the_step_of_the_run():
    training = Training()
    step = training.step()
    step.microbatches.schedule = schedules.linear(Timeline(3, 9), epochs=3)
    rows = Trainer(step).execute(0, 10).numpy()
    np.testing.assert_allclose(column(rows, "kl_weight"), np.arange(10) / 9.0, rtol=1e-6)

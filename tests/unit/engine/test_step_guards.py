"""Steps that are not finite, the loss scale, half precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.builders import Training, by_hand, column, gradients_by_sgd, relative

from vaeflow.engine.loss_scale import GROWTH_STEPS, LARGEST, SMALLEST, LossScale
from vaeflow.engine.reduce import ExactSum, PlainSum
from vaeflow.engine.step import Trainer

FULL = 0  # a step whose batch is full


def test_a_step_with_a_large_gradient_is_skipped_and_not_bad():
    free = Training(microbatches=2).step()(tf.constant(FULL, tf.int64)).numpy()
    size = column(free, "gradient_norm")
    for limit, skipped in ((0.99 * size, 1.0), (1.01 * size, 0.0)):
        training = Training(microbatches=2, skip_norm=float(limit), optimizer=keras.optimizers.Adam(0.1), ema=0.5)
        step = training.step()
        variables = [v.value for v in (*training.model.variables, *step.optimizer.variables)] + step.average.variables
        before = [v.numpy().copy() for v in variables]
        row = step(tf.constant(FULL, tf.int64))
        assert column(row.numpy(), "skipped") == skipped
        assert column(row.numpy(), "gradient_norm") == size
        assert not step.is_bad(row)
        same = [np.array_equal(v, old) for v, old in zip(variables, before, strict=True)]
        assert all(same) if skipped else not all(same)


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("reduction", [ExactSum(3), PlainSum()], ids=["exact", "plain"])
def test_a_batch_that_is_not_finite_changes_nothing_but_the_log(microbatches, value, reduction):
    training = Training(microbatches=microbatches, reduction=reduction, optimizer=keras.optimizers.Adam(0.1), ema=0.5)
    index = training.batches.order.rows(tf.constant(1, tf.int64), 0, 10)[0].numpy()
    training.pixels[index[4], 2] = value  # one pixel of one example of the second batch
    training = Training(
        training.pixels,
        training.model,
        microbatches=microbatches,
        reduction=reduction,
        optimizer=training.optimizer,
        ema=0.5,
    )
    step = training.step()
    assert column(step(tf.constant(0, tf.int64)).numpy(), "skipped") == 0.0
    variables = [
        *(v.value for v in training.model.variables),
        *(v.value for v in step.optimizer.variables),
        *step.average.variables,
    ]
    before = [v.numpy().copy() for v in variables]
    row = step(tf.constant(1, tf.int64)).numpy()
    assert column(row, "skipped") == 1.0
    for variable, value_before in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value_before)
    assert column(step(tf.constant(2, tf.int64)).numpy(), "skipped") == 0.0
    assert not np.array_equal(variables[0], before[0])


@pytest.mark.slow
def test_loss_scale_halves_only_after_nonfinite_gradients():
    pixels = builders.binary_pixels(20, 6)
    training = Training(pixels)
    pixels[training.batches.order.rows(tf.constant(1, tf.int64), 0, 1)[0].numpy()[0]] = np.nan
    training = Training(
        pixels,
        training.model,
        optimizer=keras.optimizers.SGD(0.01),
        loss_scale=LossScale.for_precision("mixed_float16", rows=1),
    )
    rows = Trainer(training.step()).execute(0, 3).numpy()
    np.testing.assert_array_equal(column(rows, "skipped"), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(column(rows, "loss_scale"), [2.0**14, 2.0**14, 2.0**13])
    assert int(training.loss_scale.good_steps) == 1


def test_loss_scale_grows_within_its_bounds():
    def after(scale: float, good_steps: int, *, finite: bool) -> tuple[float, int]:
        state = LossScale(scale, dynamic=True)
        state.good_steps.assign(good_steps)
        new_scale, new_steps = state.next(tf.constant(finite))
        return float(new_scale), int(new_steps)

    assert after(8.0, 5, finite=True) == (8.0, 6)
    assert after(8.0, GROWTH_STEPS - 1, finite=True) == (16.0, 0)
    assert after(8.0, 5, finite=False) == (4.0, 0)
    assert after(SMALLEST, 5, finite=False) == (SMALLEST, 0)
    assert after(LARGEST, GROWTH_STEPS - 1, finite=True) == (LARGEST, 0)
    fixed = LossScale.for_precision("float32", rows=1)
    assert [float(v) for v in fixed.next(tf.constant(False))] == [1.0, 0.0]


@pytest.fixture
def precision(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_half_precision_keeps_weights_and_densities_float32(precision):
    training = Training(microbatches=2, loss_scale=LossScale(256.0 if precision == "mixed_float16" else 1.0))
    terms = training.model.terms(tf.constant(training.pixels), builders.normal_noise(1, 23, 2))
    assert all(t.dtype == tf.float32 for t in (terms.log_likelihood, terms.kl, terms.z["z"]))
    assert all(w.dtype == "float32" for w in training.model.trainable_variables)
    expected, loss = by_hand(training, FULL)
    got, row = gradients_by_sgd(training, FULL)
    assert 1e-6 < relative(got, expected) < 0.05
    assert column(row, "loss") == pytest.approx(loss, rel=0.02)
    assert column(row, "skipped") == 0.0


@pytest.mark.slow
def test_float16_overflow_is_skipped_until_the_scale_fits():
    x = keras.Input((6,))
    half = keras.Model(x, keras.layers.Dense(5, dtype="mixed_float16")(x))
    training = Training(
        pixels=builders.binary_pixels(20, 6),
        model=builders.tiny_vae(encoder=half),
        optimizer=keras.optimizers.SGD(0.01),
        loss_scale=LossScale(LARGEST, dynamic=True),
    )
    rows = Trainer(training.step()).execute(0, 16).numpy()
    skipped = column(rows, "skipped")
    assert skipped[0] == 1.0
    assert skipped[-1] == 0.0
    np.testing.assert_array_equal(column(rows, "loss_scale"), LARGEST * 0.5 ** np.append(0.0, np.cumsum(skipped)[:-1]))

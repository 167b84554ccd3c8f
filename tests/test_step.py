"""The training step on a small model against the bound written out in float64, its bits, and what guards it."""

from __future__ import annotations

import builders
import keras
import numpy as np
import pytest
import tensorflow as tf
from builders import Training, column, gradients_by_sgd, relative, weights_of

from vaeflow.components import likelihoods, networks, objectives, schedules
from vaeflow.contracts import Timeline
from vaeflow.data.noise import Noise
from vaeflow.engine.ema import MovingAverage
from vaeflow.engine.loss_scale import GROWTH_STEPS, LARGEST, LossScale
from vaeflow.engine.microbatch import Microbatches
from vaeflow.engine.reduce import ExactSum, PlainSum
from vaeflow.engine.step import SCALARS, Trainer
from vaeflow.errors import PluginError

FULL, SHORT = 0, 2  # steps of the 23 examples: batches of 10, 10 and 3


def batch_of(training: Training, step: int, samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return x [b, X] of a step's examples without padding, and their noise [L, b, D]."""
    size = training.batch_size
    index, valid = (t.numpy() for t in training.batches.order.rows(tf.constant(step, tf.int64), 0, size))
    noise = Noise(training.seed, "posterior").normal(step, 0, size * samples, 2).numpy().reshape(size, samples, 2)
    return training.pixels[index][valid], noise[valid].transpose(1, 0, 2)


def by_hand(training: Training, step: int, samples: int = 1) -> tuple[list[np.ndarray], float]:
    """Return the gradients of the mean negative bound, and that mean, in float64."""
    x, eps = batch_of(training, step, samples)
    weights = [tf.constant(w, tf.float64) for w in weights_of(training.model)]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = -tf.reduce_mean(builders.bound_by_hand(weights, x, eps))
    return [g.numpy() for g in tape.gradient(loss, weights)], float(loss)


def norm(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(a).sum() for a in arrays)))


# What is differentiated


@pytest.mark.parametrize("step", [FULL, SHORT])
@pytest.mark.parametrize("microbatches", [1, 2, 3, 10])
def test_gradient_is_that_of_the_mean_negative_bound(step, microbatches):
    training = Training(microbatches=microbatches)
    expected, loss = by_hand(training, step)
    got, row = gradients_by_sgd(training, step)
    assert relative(got, expected) < 1e-6
    assert column(row, "examples") == (3 if step == SHORT else 10)
    assert column(row, "loss") == pytest.approx(loss, rel=1e-6)
    assert column(row, "bound") == pytest.approx(-loss, rel=1e-6)
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


def test_the_log_keeps_the_bound_unweighted_and_its_terms_add_up():
    training = Training(microbatches=2, objective=objectives.beta_vae(beta=4.0))
    x, eps = batch_of(training, FULL)
    bound = float(tf.reduce_mean(builders.bound_by_hand(training.model.trainable_variables, x, eps)))
    _, row = gradients_by_sgd(training, FULL)
    log_likelihood, kl = column(row, "log_likelihood"), column(row, "kl")
    assert column(row, "bound") == pytest.approx(bound, rel=1e-6)
    assert log_likelihood - kl == pytest.approx(bound, rel=1e-6)
    assert column(row, "loss") == pytest.approx(-log_likelihood + 4.0 * kl, rel=1e-6)
    assert row[len(SCALARS) :].sum() == pytest.approx(kl, rel=1e-5)
    assert column(row, "kl_weight") == 1.0
    assert column(row, "learning_rate") == builders.GRADIENT_RATE


# Bits


@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_same_run_gives_the_same_bits(microbatches):
    def run() -> tuple[list[np.ndarray], np.ndarray]:
        training = Training(microbatches=microbatches, optimizer=keras.optimizers.Adam(0.01))
        rows = Trainer(training.step()).chunk(0, 5)
        return weights_of(training.model), rows.numpy()

    (weights, rows), (again, rows_again) = run(), run()
    np.testing.assert_array_equal(rows, rows_again)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_chunks_do_not_change_the_bits_and_nothing_is_traced_again():
    def run(*chunks: int) -> tuple[list[np.ndarray], np.ndarray]:
        training = Training(microbatches=3, optimizer=keras.optimizers.RMSprop(0.01))
        trainer, rows, first = Trainer(training.step()), [], 0
        for count in chunks:
            rows.append(trainer.chunk(first, count).numpy())
            first += count
        assert trainer.traces == 1
        return weights_of(training.model), np.concatenate(rows)

    (weights, rows), (others, other_rows) = run(9), run(1, 3, 5)
    assert rows.shape == (9, len(SCALARS) + 2)
    np.testing.assert_array_equal(column(rows, "examples"), [10, 10, 3] * 3)
    np.testing.assert_array_equal(rows, other_rows)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_raises_the_bound():
    pixels = np.tile(builders.binary_pixels(4, 6), (10, 1))
    training = Training(pixels=pixels, optimizer=keras.optimizers.Adam(0.02), ema=0.9)
    rows = Trainer(training.step()).chunk(0, 200).numpy()
    assert column(rows, "bound")[-20:].mean() > column(rows, "bound")[:4].mean() + 0.5


# Clipping and averaging


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
        inside = training.model.encode(x).mean()
    outside = training.model.encode(x).mean()
    for weight, average in zip(training.model.trainable_variables, step.average.variables, strict=True):
        weight.assign(average)
    np.testing.assert_allclose(training.model.encode(x).mean(), inside, rtol=1e-6)
    assert not np.allclose(inside, outside)


def test_without_a_decay_there_is_no_average():
    average = MovingAverage(builders.tiny_vae().trainable_variables, None)
    assert average.variables == average.next() == average.mapping() == []


# Batches that are not finite


@pytest.mark.parametrize("microbatches", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("reduction", [ExactSum(3), PlainSum()], ids=["exact", "plain"])
def test_a_batch_that_is_not_finite_changes_nothing_but_the_log(microbatches, value, reduction):
    training = Training(microbatches=microbatches, reduction=reduction, optimizer=keras.optimizers.Adam(0.1), ema=0.5)
    index = training.batches.order.rows(tf.constant(1, tf.int64), 0, 10)[0].numpy()
    training.pixels[index[4], 2] = value  # one pixel of one example of the second batch
    training = Training(training.pixels, training.model, microbatches=microbatches, reduction=reduction,
                        optimizer=training.optimizer, ema=0.5)
    step = training.step()
    assert column(step(tf.constant(0, tf.int64)).numpy(), "skipped") == 0.0
    variables = [*(v.value for v in training.model.variables), *(v.value for v in step.optimizer.variables),
                 *step.average.variables]
    before = [v.numpy().copy() for v in variables]
    row = step(tf.constant(1, tf.int64)).numpy()
    assert column(row, "skipped") == 1.0
    assert column(row, "examples") == 10
    for variable, value_before in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value_before)
    assert column(step(tf.constant(2, tf.int64)).numpy(), "skipped") == 0.0
    assert not np.array_equal(variables[0], before[0])


def test_loss_scale_halves_after_what_is_not_finite_and_stays_otherwise():
    pixels = builders.binary_pixels(20, 6)
    training = Training(pixels)
    pixels[training.batches.order.rows(tf.constant(1, tf.int64), 0, 1)[0].numpy()[0]] = np.nan
    training = Training(pixels, training.model, optimizer=keras.optimizers.SGD(0.01),
                        loss_scale=LossScale.for_precision("mixed_float16"))
    rows = Trainer(training.step()).chunk(0, 3).numpy()
    np.testing.assert_array_equal(column(rows, "skipped"), [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(column(rows, "loss_scale"), [2.0**15, 2.0**15, 2.0**14])
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
    assert after(1.0, 5, finite=False) == (1.0, 0)
    assert after(LARGEST, GROWTH_STEPS - 1, finite=True) == (LARGEST, 0)
    fixed = LossScale.for_precision("float32")
    assert [float(v) for v in fixed.next(tf.constant(False))] == [1.0, 0.0]


@pytest.fixture
def precision(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_half_precision_trains_float32_weights_with_float32_densities(precision):
    training = Training(microbatches=2, loss_scale=LossScale.for_precision(precision))
    terms = training.model.terms(tf.constant(training.pixels), builders.normal_noise(1, 23, 2))
    assert all(t.dtype == tf.float32 for t in (terms.log_likelihood, terms.kl, terms.z))
    assert all(w.dtype == "float32" for w in training.model.trainable_variables)
    expected, loss = by_hand(training, FULL)
    got, row = gradients_by_sgd(training, FULL)
    assert 1e-6 < relative(got, expected) < 0.05
    assert column(row, "loss") == pytest.approx(loss, rel=0.02)
    assert column(row, "skipped") == 0.0


def test_float16_overflow_is_skipped_until_the_scale_fits():
    training = Training(pixels=builders.binary_pixels(20, 6), optimizer=keras.optimizers.SGD(0.01),
                        loss_scale=LossScale(LARGEST, dynamic=True), model=builders.tiny_vae(encoder=HalfEncoder.build()))
    rows = Trainer(training.step()).chunk(0, 16).numpy()
    skipped = column(rows, "skipped")
    assert skipped[0] == 1.0
    assert skipped[-1] == 0.0
    np.testing.assert_array_equal(column(rows, "loss_scale"), LARGEST * 0.5 ** np.append(0.0, np.cumsum(skipped)[:-1]))


class HalfEncoder:
    """An encoder whose gradients pass through float16."""

    @staticmethod
    def build() -> keras.Model:
        x = keras.Input((6,))
        return keras.Model(x, keras.layers.Dense(5, dtype="mixed_float16")(x))


# Layers that keep something or draw numbers


def encoder_with(*layers: keras.layers.Layer) -> keras.Model:
    x = keras.Input((6,))
    h = keras.layers.Dense(5, activation="tanh")(x)
    for layer in layers:
        h = layer(h)
    return keras.Model(x, h)


def test_dropout_is_a_function_of_step_and_microbatch():
    def training(microbatches: int) -> Training:
        encoder = encoder_with(keras.layers.Dropout(0.5, seed=1), keras.layers.Dropout(0.5, seed=2))
        return Training(model=builders.tiny_vae(encoder=encoder), microbatches=microbatches)

    one, two = training(3), training(3)
    first, _ = gradients_by_sgd(one, 0)
    gradients_by_sgd(one, 1)
    again, _ = gradients_by_sgd(one, 0)
    fresh, _ = gradients_by_sgd(two, 0)
    for g, h, k in zip(first, again, fresh, strict=True):
        np.testing.assert_array_equal(g, h)  # whatever was trained in between
        np.testing.assert_array_equal(g, k)  # whoever trains
    assert relative(gradients_by_sgd(training(1), 0)[0], first) > 1e-3


def test_dropout_drops_other_units_at_other_steps_microbatches_and_layers():
    seen = []

    class Recorder(keras.layers.Layer):
        def call(self, inputs):
            if tf.executing_eagerly():  # not while Keras infers shapes
                seen.append(inputs.numpy() == 0.0)
            return inputs

    drops = [layer for seed in (1, 2) for layer in (keras.layers.Dropout(0.5, seed=seed), Recorder())]
    model = builders.tiny_vae(encoder=encoder_with(*drops))
    seen.clear()
    part = Training(model=model, microbatches=2).step().microbatches.part
    for step, number in ((0, 0), (0, 1), (1, 0)):
        part(tf.constant(step, tf.int64), tf.constant(number, tf.int64))
    masks = [seen[i] for i in (0, 2, 4)]  # of the first layer
    seconds = [after & ~before for before, after in zip(seen[::2], seen[1::2], strict=True)]
    assert len({m.tobytes() for m in masks}) == 3
    assert len({m.tobytes() for m in seconds}) == 3
    assert not any(np.array_equal(m, after) for m, after in zip(masks, seen[1::2], strict=True))


@pytest.mark.parametrize("microbatches", [1, 2, 3])
def test_batch_normalization_averages_over_the_microbatches(microbatches):
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    training = Training(model=builders.tiny_vae(encoder=encoder_with(normalization)), microbatches=microbatches)
    dense = training.model.encoder.layers[1]
    normalization.moving_mean.assign([0.1, 0.2, 0.3, 0.4, 0.5])
    step = training.step()
    index, _ = training.batches.order.rows(tf.constant(FULL, tf.int64), 0, 3 * step.microbatches.rows)
    h = dense(tf.constant(training.pixels[index.numpy()])).numpy()
    parts = [h[i : i + step.microbatches.rows] for i in range(0, 10, step.microbatches.rows)]
    counts = [min(10 - i, step.microbatches.rows) for i in range(0, 10, step.microbatches.rows)]
    mean = np.average([p.mean(0) for p in parts], axis=0, weights=counts)
    variance = np.average([p.var(0) for p in parts], axis=0, weights=counts)
    step(tf.constant(FULL, tf.int64))
    np.testing.assert_allclose(normalization.moving_mean.value, 0.9 * np.linspace(0.1, 0.5, 5) + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(normalization.moving_variance.value, 0.9 + 0.1 * variance, rtol=1e-5)


def test_batch_normalization_trains_inside_a_compiled_chunk():
    encoder = encoder_with(keras.layers.BatchNormalization(), keras.layers.Dropout(0.2))
    training = Training(model=builders.tiny_vae(encoder=encoder), microbatches=3, optimizer=keras.optimizers.Adam(0.01))
    trainer = Trainer(training.step())
    rows = trainer.chunk(0, 7).numpy()
    assert np.all(np.isfinite(rows))
    assert trainer.traces == 1
    assert not np.allclose(training.model.encoder.layers[2].moving_mean.value, 0.0)


def test_layers_that_keep_integers_are_refused():
    class Counter(keras.layers.Layer):
        def build(self, _):
            self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

        def call(self, inputs):
            return inputs

    training = Training(model=builders.tiny_vae(encoder=encoder_with(Counter())))
    with pytest.raises(PluginError, match=r"count.*int32"):
        training.step()


# Microbatches themselves


@pytest.mark.parametrize("microbatches", [1, 2, 3, 4, 10])
def test_microbatches_past_the_last_one_and_past_the_epoch_add_nothing(microbatches):
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
    rows = Trainer(step).chunk(0, 10).numpy()
    np.testing.assert_allclose(column(rows, "kl_weight"), np.arange(10) / 9.0, rtol=1e-6)

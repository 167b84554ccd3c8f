"""Layers that keep something (batch normalization) or draw numbers (dropout) inside the training step."""

from __future__ import annotations

import builders
import keras
import numpy as np
import pytest
import tensorflow as tf
from builders import Training, gradients_by_sgd, relative

from vaeflow.engine.step import Trainer
from vaeflow.errors import PluginError

FULL = 0  # a step whose batch is full


def encoder_with(*layers: keras.layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(3)  # for the weights, whatever ran before
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


def test_dropout_differs_with_the_seed_of_the_run():
    seen = []

    class Recorder(keras.layers.Layer):
        def call(self, inputs):
            if tf.executing_eagerly():
                seen.append(inputs.numpy() == 0.0)
            return inputs

    model = builders.tiny_vae(encoder=encoder_with(keras.layers.Dropout(0.5), Recorder()))
    seen.clear()
    for seed in (0, 1):
        Training(model=model, seed=seed).step().microbatches.part(tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    assert not np.array_equal(*seen)


def test_a_layers_generator_of_any_name_is_seeded_by_the_run():
    class Jitter(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.jitter = keras.random.SeedGenerator(5)

        def call(self, inputs):
            return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.jitter)

    training = Training(model=builders.tiny_vae(encoder=encoder_with(Jitter())), microbatches=2)
    first, _ = gradients_by_sgd(training, 0)
    again, _ = gradients_by_sgd(training, 0)
    assert all(np.array_equal(g, h) for g, h in zip(first, again, strict=True))


def test_layers_that_keep_integers_are_refused():
    class Counter(keras.layers.Layer):
        def build(self, _):
            self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

        def call(self, inputs):
            return inputs

    training = Training(model=builders.tiny_vae(encoder=encoder_with(Counter())))
    with pytest.raises(PluginError, match=r"count.*int32"):
        training.step()

"""Layers that keep something (batch normalization) or draw numbers (dropout) inside the training step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.builders import Training, gradients_by_sgd, relative

from vaeflow.engine.step import Trainer
from vaeflow.errors import PluginError
from vaeflow.model.distributions import Bernoulli, DiagonalNormal
from vaeflow.model.modes import in_mode

FULL = 0  # a step whose batch is full


def encoder_with(*layers: keras.layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(3)  # for the weights, whatever ran before
    x = keras.Input((6,))
    h = keras.layers.Dense(5, activation="tanh")(x)
    for layer in layers:
        h = layer(h)
    return keras.Model(x, h)


@pytest.mark.slow
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


def test_dropout_differs_by_step_microbatch_and_layer():
    seen = []

    class Recorder(keras.layers.Layer):
        def call(self, inputs):
            if tf.executing_eagerly():  # not while Keras infers shapes
                seen.append(inputs.numpy() == 0.0)
            return inputs

    drops = [layer for seed in (1, 2) for layer in (keras.layers.Dropout(0.5, seed=seed), Recorder())]
    model = builders.tiny_vae(encoder=encoder_with(*drops))
    part = Training(model=model, microbatches=2).step().microbatches.part
    seen.clear()
    for step, number in ((0, 0), (0, 1), (1, 0)):
        part(tf.constant(step, tf.int64), tf.constant(number, tf.int64))
    masks = [seen[i] for i in (0, 2, 4)]  # of the first layer
    seconds = [after & ~before for before, after in zip(seen[::2], seen[1::2], strict=True)]
    assert len({m.tobytes() for m in masks}) == 3
    assert len({m.tobytes() for m in seconds}) == 3
    assert not any(np.array_equal(m, after) for m, after in zip(masks, seen[1::2], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 2, 3])
def test_batch_normalization_averages_over_the_microbatches(microbatches):
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    training = Training(model=builders.tiny_vae(encoder=encoder_with(normalization)), microbatches=microbatches)
    dense = training.model.encoder.layers[1]
    normalization.moving_mean.assign([0.1, 0.2, 0.3, 0.4, 0.5])
    step = training.step()
    index, _ = training.batches.order.rows(tf.constant(FULL, tf.int64), 0, 3 * step.microbatches.rows)
    h = dense(tf.constant(training.pixels[index.numpy()])).numpy()
    parts = np.split(h[:10], range(step.microbatches.rows, 10, step.microbatches.rows))  # without padding
    counts = [len(part) for part in parts]
    mean = np.average([p.mean(0) for p in parts], axis=0, weights=counts)
    variance = np.average([p.var(0) for p in parts], axis=0, weights=counts)
    step(tf.constant(FULL, tf.int64))
    np.testing.assert_allclose(normalization.moving_mean.value, 0.9 * np.linspace(0.1, 0.5, 5) + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(normalization.moving_variance.value, 0.9 + 0.1 * variance, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 3])
def test_batch_normalization_sees_no_padding(samples):
    """What stands in a padded row changes nothing, in the encoder and among the decoder's L x B rows."""
    model = builders.tiny_vae(encoder=encoder_with(keras.layers.BatchNormalization()))
    model.decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(6), keras.layers.BatchNormalization(), keras.layers.Dense(6)]
    )
    microbatches = Training(model=model, microbatches=3).step().microbatches
    step, number = tf.constant(FULL, tf.int64), tf.constant(2, tf.int64)
    batch, _ = microbatches.inputs(step, number)
    assert batch.valid.numpy().tolist() == [1.0, 1.0, 0.0, 0.0]
    noise = tf.random.stateless_normal((samples, 4, 2), (1, 2))
    other = batch._replace(x=tf.where(batch.valid[:, None] > 0.0, batch.x, 1.0 - batch.x))
    first, second = (microbatches.differentiate(one, noise, step, number) for one in (batch, other))
    for one, two in zip((*first.gradients, *first.state), (*second.gradients, *second.state), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(first.loss[:2], second.loss[:2])


@pytest.mark.slow
def test_batch_normalization_trains_in_a_compiled_execution():
    encoder = encoder_with(keras.layers.BatchNormalization(), keras.layers.Dropout(0.2))
    training = Training(model=builders.tiny_vae(encoder=encoder), microbatches=3, optimizer=keras.optimizers.Adam(0.01))
    trainer = Trainer(training.step())
    rows = trainer.execute(0, 7).numpy()
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
    parts = [Training(model=model, seed=seed).step().microbatches.part for seed in (0, 1)]
    seen.clear()
    for part in parts:
        part(tf.constant(0, tf.int64), tf.constant(0, tf.int64))
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


class Normalized(keras.layers.Layer):
    """A posterior whose features pass batch normalization, a dense layer of unit norm, and dropout."""

    noise_size = 2

    def __init__(self):
        super().__init__(name="posterior")
        self.normalization = keras.layers.BatchNormalization(momentum=0.9)
        self.dense = keras.layers.SpectralNormalization(keras.layers.Dense(5, activation="tanh"))
        self.dropout = keras.layers.Dropout(0.5)
        self.mu, self.log_var = keras.layers.Dense(2), keras.layers.Dense(2)

    def distribution(self, features):
        h = self.dropout(self.dense(self.normalization(features)))
        return DiagonalNormal(self.mu(h), self.log_var(h))


def with_posterior(posterior, **options: Any) -> Training:
    """Return a step whose model has a posterior of its own."""
    model = builders.tiny_vae(encoder=encoder_with())
    model.posterior = posterior
    model.terms(tf.zeros((1, 6)), tf.zeros((1, 1, 2)))
    return Training(model=model, **options)


@pytest.mark.slow
@pytest.mark.parametrize("xla", [False, True])
def test_layers_of_a_posterior_train_as_in_an_encoder(xla):
    posterior = Normalized()
    training = with_posterior(posterior, microbatches=2, xla=xla)
    step = training.step()
    index, _ = training.batches.order.rows(tf.constant(FULL, tf.int64), 0, 10)
    h = training.model.encoder(tf.constant(training.pixels[index.numpy()])).numpy()
    u = posterior.dense.vector_u.numpy()
    step(tf.constant(FULL, tf.int64))
    mean = np.mean([part.mean(0) for part in (h[:5], h[5:])], axis=0)
    np.testing.assert_allclose(posterior.normalization.moving_mean.value, 0.1 * mean, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(posterior.dense.vector_u.numpy(), u)


@pytest.mark.slow
def test_a_weight_updated_by_its_layer_keeps_the_update():
    posterior = Normalized()
    step = with_posterior(posterior, optimizer=keras.optimizers.SGD(0.0)).step()
    for number in range(60):
        step(tf.constant(number, tf.int64))
    norms = np.linalg.svd(posterior.dense.layer.kernel.numpy(), compute_uv=False)
    assert norms[0] == pytest.approx(1.0, abs=1e-3)


def test_layers_of_a_posterior_rest_in_evaluations():
    posterior = Normalized()
    model = with_posterior(posterior).model
    x, noise = tf.random.stateless_uniform((7, 6), (1, 2)), tf.zeros((1, 7, 2))
    first, again = (model.terms(x, noise).z["z"].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(model.terms(x, noise, training=True).z["z"], first)


def test_a_frozen_layer_freezes_no_other_component():
    class Frozen(Normalized):
        def distribution(self, features):
            return super().distribution(self.still(features, training=False))

        def __init__(self):
            super().__init__()
            self.still = keras.layers.Dropout(0.5)

    class Noisy(keras.layers.Layer):
        parameters_shape = (6,)

        def __init__(self):
            super().__init__()
            self.dropout = keras.layers.Dropout(0.5)

        def distribution(self, parameters):
            return Bernoulli(self.dropout(parameters), rank=1)

    model = with_posterior(Frozen()).model
    model.likelihood = Noisy()
    x = tf.zeros((7, 6))
    p_x = model.terms(x, tf.ones((1, 7, 2)), training=True).p_x
    assert np.any(np.asarray(p_x.mean()) == 0.5)  # a logit that was dropped


def test_an_error_inside_a_mode_comes_out_as_it_is():
    def fail():
        raise PluginError("as it is")

    with pytest.raises(PluginError, match=r"^as it is$"):
        in_mode(fail, training=True)
    assert in_mode(lambda: (1, "two"), training=False) == (1, "two")


def test_state_in_no_layer_of_the_model_is_refused():
    class Plain:
        noise_size = 2

        def __init__(self):
            self.inner = Normalized()

        def distribution(self, features):
            return self.inner.distribution(features)

    training = with_posterior(Plain())
    with pytest.raises(PluginError, match=r"changes variable '\S*moving_mean' of shape \(5,\) in training, which is"):
        training.step()


def test_layers_that_keep_integers_are_refused():
    class Counter(keras.layers.Layer):
        def build(self, _):
            self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

        def call(self, inputs):
            return inputs

    training = Training(model=builders.tiny_vae(encoder=encoder_with(Counter())))
    with pytest.raises(PluginError, match=r"count.*int32"):
        training.step()

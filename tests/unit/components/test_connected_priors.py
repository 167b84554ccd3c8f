"""Priors that use their model: mixtures of its posteriors (VampPrior), and a Gaussian per label."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from scipy import special, stats

from vaeflow.components import binarizations, likelihoods, models, networks, posteriors, priors
from vaeflow.contracts import ModelContext, Split
from vaeflow.data.batches import Batches
from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal
from vaeflow.model.modes import in_mode
from vaeflow.training.start_from_examples import start_from_examples

WIDTH, LATENT, CLASSES = 6, 3, 4
TIGHT = {"rtol": 1e-5, "atol": 1e-5}


def linear(x_shape):
    return networks.mlp_encoder(x_shape, hidden=())


def model_of(prior, *, classes=0, **parts):
    """Return a single-layer model, with a posterior linear in x unless there are other parts."""
    keras.utils.set_random_seed(0)
    usual = {
        "encoder": linear,
        "posterior": posteriors.diagonal_gaussian,
        "prior": lambda _: prior,
        "decoder": lambda size, shape: networks.mlp_decoder(size, shape, hidden=()),
        "likelihood": likelihoods.bernoulli,
    }
    model = models.single_layer(ModelContext((WIDTH,), LATENT, classes, SimpleNamespace(**usual | parts)))
    labels = tf.one_hot([0], classes) if classes else None
    model.terms(tf.zeros((1, WIDTH)), tf.zeros((1, 1, LATENT)), labels=labels)
    for index, variable in enumerate(model.trainable_variables):
        variable.assign_add(0.5 * tf.random.stateless_normal(variable.shape, (index, 3)))
    return model


# The VampPrior


def test_vamp_is_the_mixture_of_the_posteriors():
    model = model_of(priors.vamp(LATENT, components=5, mean=0.4, spread=2.0))
    z = builders.normal_noise(7, 2, LATENT)
    u, head = np.asarray(model.prior.pseudo_inputs, np.float64), model.posterior
    mu, log_var = (u @ layer.kernel.numpy() + layer.bias.numpy() for layer in (head.mu, head.log_var))
    each = stats.norm.logpdf(np.asarray(z)[..., None, :], mu, np.exp(0.5 * log_var)).sum(axis=-1)
    np.testing.assert_allclose(model.prior.log_prob(z), special.logsumexp(each, axis=-1) - np.log(5), **TIGHT)
    np.testing.assert_allclose(model.prior.mean(), mu.mean(axis=0), **TIGHT)
    drawn = model.prior.sample(builders.normal_noise(40_000, LATENT)).numpy()
    for axis in range(LATENT):

        def cdf(value, axis=axis):
            return stats.norm.cdf(value[:, None], mu[:, axis], np.exp(0.5 * log_var[:, axis])).mean(axis=1)

        assert stats.kstest(drawn[:, axis], cdf).pvalue > 1e-3


def test_vamp_begins_at_its_mean_and_spread():
    model = model_of(priors.vamp(LATENT, components=500, mean=0.3, spread=0.05))
    keras.utils.set_random_seed(0)
    fresh = priors.vamp(LATENT, components=500, mean=0.3, spread=0.05)
    fresh.connect(SimpleNamespace(x_shape=(WIDTH,), classes=0, posterior_of=model.posterior_of))
    assert fresh.pseudo_inputs.shape == (500, WIDTH)
    assert float(np.mean(fresh.pseudo_inputs)) == pytest.approx(0.3, abs=0.01)
    assert float(np.std(fresh.pseudo_inputs)) == pytest.approx(0.05, rel=0.1)


def test_vamp_begins_at_examples_that_the_seed_chooses():
    pixels = np.arange(40 * WIDTH, dtype=np.float32).reshape(40, WIDTH)
    starts = []
    for seed in (1, 1, 2):
        split = Split(pixels)
        batches = Batches.of("train", split, binarizations.none(), seed=seed, batch_size=7)
        keras.utils.set_random_seed(0)
        prior = priors.vamp(LATENT, components=40, start="examples", mean=0.3, spread=0.01)
        prior.connect(SimpleNamespace(x_shape=(WIDTH,), classes=0, posterior_of=None))
        start_from_examples(SimpleNamespace(parts={"prior": prior}), batches)
        starts.append(np.asarray(prior.pseudo_inputs))
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    np.testing.assert_array_equal(np.sort(np.round(starts[2]), axis=0), pixels)  # each example once
    assert float(np.std(starts[0] - np.round(starts[0]))) == pytest.approx(0.01, rel=0.2)


def test_vamp_can_not_begin_at_more_examples_than_there_are():
    model = model_of(priors.vamp(LATENT, components=41, start="examples"))
    batches = Batches.of("train", Split(np.zeros((40, WIDTH), np.float32)), binarizations.none(), seed=1, batch_size=7)
    with pytest.raises(UsageError, match="prior starts from 41 examples, but there are 40 to train with"):
        start_from_examples(model, batches)


def test_vamp_trains_pseudo_inputs_and_the_encoder():
    model = model_of(priors.vamp(LATENT, components=5))
    head = [variable.value for variable in model.posterior.trainable_variables]
    inputs = model.prior.pseudo_inputs.value
    assert sum(v is model.prior.pseudo_inputs for v in model.trainable_variables) == 1
    with tf.GradientTape() as tape:
        log_p = tf.reduce_sum(model.prior.log_prob(builders.normal_noise(7, LATENT)))
    for gradient in tape.gradient(log_p, [inputs, *head]):
        assert np.abs(gradient).max() > 0.0


def test_vamp_encodes_pseudo_inputs_as_in_evaluations():
    def noisy(x_shape):
        h = x = keras.Input(x_shape)
        h = keras.layers.Dense(8)(h)
        h = keras.layers.BatchNormalization()(h)
        return keras.Model(x, keras.layers.Dropout(0.5)(h))

    prior, z = priors.vamp(LATENT, components=5), builders.normal_noise(7, LATENT)
    model = model_of(prior, encoder=noisy)
    before = [variable.numpy().copy() for variable in model.non_trainable_variables]
    resting, training = (in_mode(lambda: prior.log_prob(z), training=mode, of="prior") for mode in (False, True))
    np.testing.assert_array_equal(training, resting)
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_vamp_refuses_what_it_can_not_be_used_with():
    class Other(DiagonalNormal):
        """A posterior that may have another density."""

    class Head(keras.layers.Layer):
        noise_size = LATENT

        def distribution(self, features):
            return Other(features[:, :LATENT], features[:, :LATENT])

    with pytest.raises(UsageError, match="posteriors that are diagonal Gaussians, not Other"):
        model_of(priors.vamp(LATENT), posterior=lambda _: Head())
    with pytest.raises(UsageError, match=r"can't be used with condition\.labels = true"):
        model_of(priors.vamp(LATENT), classes=CLASSES)
    with pytest.raises(UsageError, match="needs the model's encoder, which this model does not give it"):
        priors.vamp(LATENT).log_prob(tf.zeros((1, LATENT)))


# A Gaussian per label


def test_the_prior_of_a_label_is_scipys():
    model, y = model_of(priors.diagonal_gaussian(LATENT, per_class=True), classes=CLASSES), np.array([2, 0, 3, 2, 1])
    labels, x, noise = tf.one_hot(y, CLASSES), tf.ones((5, WIDTH)), builders.normal_noise(7, 5, LATENT)
    terms = model.terms(x, noise, labels=labels)
    mu, scale = model.prior.mu.numpy()[y], np.exp(0.5 * model.prior.log_var.numpy())[y]
    assert model.prior.mu.shape == (CLASSES, LATENT)
    np.testing.assert_allclose(terms.log_p, stats.norm.logpdf(terms.z["z"], mu, scale).sum(-1), **TIGHT)
    q, tfd = terms.q["z"], builders.tfd()
    by_tfp = tfd.kl_divergence(tfd.Normal(q.mu, tf.exp(0.5 * q.log_var)), tfd.Normal(mu, scale))
    np.testing.assert_allclose(terms.kl_terms["z"], by_tfp, **TIGHT)
    prior = model.prior_of(labels)
    np.testing.assert_allclose(prior.sample(noise), mu + scale * noise, **TIGHT)
    np.testing.assert_allclose(prior.mean(), mu, **TIGHT)
    np.testing.assert_allclose(model.prior_of(labels[0]).mean(), mu[0], **TIGHT)


def test_the_weights_of_other_labels_get_no_gradient():
    model = model_of(priors.diagonal_gaussian(LATENT, per_class=True), classes=CLASSES)
    with tf.GradientTape() as tape:
        terms = model.terms(
            tf.ones((2, WIDTH)), builders.normal_noise(1, 2, LATENT), labels=tf.one_hot([1, 3], CLASSES)
        )
    gradient = tape.gradient(terms.kl, model.prior.mu.value).numpy()
    assert (gradient[[0, 2]] == 0.0).all()
    assert (gradient[[1, 3]] != 0.0).all()


def test_one_gaussian_for_all_labels_by_default():
    model = model_of(priors.diagonal_gaussian(LATENT), classes=CLASSES)
    z = builders.normal_noise(2, 4, LATENT)
    given = model.prior_of(tf.one_hot(range(4), CLASSES))
    np.testing.assert_array_equal(given.log_prob(z), model.prior.log_prob(z))


def test_a_gaussian_per_label_needs_labels():
    with pytest.raises(UsageError, match=r"set condition\.labels = true"):
        model_of(priors.diagonal_gaussian(LATENT, per_class=True))
    model = model_of(priors.diagonal_gaussian(LATENT, per_class=True), classes=CLASSES)
    with pytest.raises(UsageError, match="a density only given a label"):
        model.prior.log_prob(tf.zeros((1, LATENT)))

"""The codebook against NumPy: averages, restarts, padding; the priors' probabilities; the gradients' ways."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_vq import components
from vaeflow_vq.codebook import Codebook
from vaeflow_vq.distributions import CodesFromPrior
from vaeflow_vq.metrics import perplexity
from vaeflow_vq.priors import code_prior

from vaeflow.contracts import ModelContext
from vaeflow.errors import UsageError

CODES, SIZE, POSITIONS, DECAY = 5, 3, 4, 0.9


def codebook(restart_below=0.0, seed=0):
    keras.utils.set_random_seed(seed)
    return Codebook(CODES, SIZE, positions=POSITIONS, decay=DECAY, restart_below=restart_below)


def outputs(examples, seed=0):
    return np.random.default_rng(seed).normal(size=(examples, POSITIONS, SIZE)).astype(np.float32)


def test_the_averages_are_those_of_the_paper():
    """Appendix A.1 of van den Oord et al. 2017, for sums per example, over three batches."""
    book, counts = codebook(), np.full(CODES, POSITIONS / CODES)
    sums = book.sums.numpy().astype(np.float64)
    for seed in range(3):
        x = outputs(6, seed)
        table = sums / counts[:, None]
        nearest = np.square(x[:, :, None] - table).sum(-1).argmin(-1)
        indices, codes = book(tf.constant(x), tf.ones(6), training=True)
        np.testing.assert_array_equal(indices, nearest)
        np.testing.assert_allclose(codes, table[nearest], rtol=1e-4)
        for code in range(CODES):
            mine = x[nearest == code]
            counts[code] = DECAY * counts[code] + (1 - DECAY) * len(mine) / 6
            sums[code] = DECAY * sums[code] + (1 - DECAY) * mine.sum(0) / 6
    np.testing.assert_allclose(book.counts, counts, rtol=1e-5)
    np.testing.assert_allclose(book.sums, sums, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(book.table(), sums / counts[:, None], rtol=1e-4, atol=1e-6)
    assert float(book.restarts) == 0.0


def test_padding_changes_nothing():
    whole, padded = codebook(), codebook()
    x = outputs(4)
    whole(tf.constant(x), tf.ones(4), training=True)
    padded(tf.constant(np.concatenate([x, 1e3 * outputs(3)])), tf.constant([1.0] * 4 + [0.0] * 3), training=True)
    for one, other in zip(whole.weights, padded.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    before = [w.numpy() for w in padded.weights]
    padded(tf.constant(x), tf.zeros(4), training=True)  # an empty microbatch: its weight in the average is 0
    assert all(np.isfinite(w).all() for w in padded.weights)
    padded(tf.constant(x), tf.ones(4), training=False)
    assert any((w.numpy() != b).any() for w, b in zip(padded.weights, before, strict=True))


def test_evaluations_change_nothing():
    book = codebook(restart_below=0.5)
    before = [w.numpy() for w in book.weights]
    book(tf.constant(outputs(4)), tf.ones(4), training=False)
    for weight, was in zip(book.weights, before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_codes_that_nobody_uses_are_drawn_again():
    """From the mean and the variance of the outputs, the same for each batch; others stay."""
    book, same = codebook(0.5), codebook(0.5)
    x = 0.1 * outputs(50) + np.array([3.0, -2.0, 1.0], np.float32)
    for one in (book, same):
        one.mean.assign(x.mean((0, 1)))
        one.square.assign(np.square(x).mean((0, 1)))
        one.counts.assign([0.3, 1.0, 0.41, 0.1, 2.0])  # the usual is 0.8
    before = book.table().numpy()
    indices, _ = book(tf.constant(x), tf.ones(50), training=True)
    same(tf.constant(x[:7]), tf.ones(7), training=True)
    drawn = [0, 3]
    assert float(book.restarts) == len(drawn)
    assert set(np.unique(indices)) <= set(drawn)  # they are close to the outputs, the others are not
    table = same.table().numpy()
    np.testing.assert_allclose(table[[1, 2, 4]], before[[1, 2, 4]], rtol=1e-5)
    assert np.abs(table[drawn] - x.mean((0, 1))).max() < 0.6
    assert codebook(0.5, seed=1).key.numpy() != book.key.numpy()


@pytest.mark.parametrize("name", ["uniform", "independent", "autoregressive"])
def test_a_prior_adds_up_to_one(name):
    """Over all 3**4 maps, whatever its weights."""
    keras.utils.set_random_seed(0)
    prior = code_prior(name, (2, 2), 3, width=4, layers=2)
    for weight in prior.trainable_variables:
        weight.assign(keras.random.normal(weight.shape, seed=len(weight.shape)))
    maps = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    assert np.exp(prior.log_prob(tf.constant(maps)).numpy().astype(np.float64)).sum() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", ["independent", "autoregressive"])
def test_samples_have_the_priors_probabilities(name):
    """Frequencies of all maps, within 5 standard errors."""
    keras.utils.set_random_seed(0)
    prior = code_prior(name, (2, 2), 2, width=4, layers=1)
    for weight in prior.trainable_variables:
        weight.assign(keras.random.normal(weight.shape, seed=len(weight.shape)))
    draws = 20000
    noise = np.random.default_rng(0).normal(size=(draws, 4)).astype(np.float32)
    found = np.asarray(tf.function(prior.sample)(tf.constant(noise), 1.0)) @ [8, 4, 2, 1]
    maps = np.array(list(itertools.product(range(2), repeat=4)), np.int32)
    expected = np.exp(prior.log_prob(tf.constant(maps)).numpy())
    frequencies = np.bincount(found, minlength=16) / draws
    assert np.abs(frequencies - expected).max() < 5 * np.sqrt(0.25 / draws)
    cold = np.asarray(prior.sample(tf.constant(noise[:50]), 1e-3))
    assert len(np.unique(cold, axis=0)) == 1


class Parts:
    """Builds the likelihood that a config would select."""

    def likelihood(self, x_shape):
        from vaeflow.components.likelihoods import bernoulli

        return bernoulli(x_shape)


def context(x_shape=(8, 8, 1), classes=0):
    return ModelContext(x_shape=x_shape, latent_size=0, classes=classes, parts=Parts())


def model(**options):
    keras.utils.set_random_seed(0)
    small = {"codes": 6, "code_size": 3, "width": 4, "prior_width": 4, "prior_layers": 1}
    return components.vq(context(), **{**small, **options})


def test_the_gradient_passes_the_quantization():
    """The encoder's is the decoder's, as if codes were outputs, and the commitment's; the prior's reaches only it."""
    built = model(commitment=0.0)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (5, 8, 8, 1)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        terms = built.terms(x, tf.zeros((1, 5, 0)))
        fit, rate = tf.reduce_sum(terms.log_likelihood), tf.reduce_sum(terms.kl)
    of_encoder, of_prior = built.encoder.trainable_variables, built.prior.trainable_variables
    assert all(g is None for g in tape.gradient(rate, [v.value for v in of_encoder]))
    assert all(g is not None for g in tape.gradient(rate, [v.value for v in of_prior]))
    codes = tf.Variable(terms.z["codes"][0])
    with tf.GradientTape() as by_hand:
        outputs = built.encoder(x)
        with tf.GradientTape() as decoding:
            fit_again = tf.reduce_sum(built.decode({"codes": codes}).log_prob(x))
        pulled = tf.reduce_sum(outputs * tf.stop_gradient(decoding.gradient(fit_again, codes)))
    expected = by_hand.gradient(pulled, [v.value for v in of_encoder])
    for one, other in zip(tape.gradient(fit, [v.value for v in of_encoder]), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_terms_are_log_p_of_the_codes():
    built = model(prior="uniform", commitment=0.5)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (5, 8, 8, 1)).astype(np.float32))
    terms = built.terms(x, tf.zeros((3, 5, 0)))
    np.testing.assert_allclose(terms.kl, np.full(5, 4 * np.log(6)), rtol=1e-6)
    np.testing.assert_allclose(terms.log_p, np.full((3, 5), -4 * np.log(6)), rtol=1e-6)
    np.testing.assert_array_equal(terms.log_q, np.zeros((3, 5)))
    distances = np.square(built.encoder(x) - terms.z["codes"][0]).sum((1, 2, 3))
    np.testing.assert_allclose(terms.penalty, 0.5 * distances, rtol=1e-4)
    assert isinstance(terms.p["codes"], CodesFromPrior)


def test_perplexity_counts_the_codes_in_use():
    built = model()
    x = tf.zeros((2, 8, 8, 1))
    built.codebook.counts.assign([2.0, 2.0, 2.0, 0.0, 0.0, 0.0])
    terms = built.terms(x, tf.zeros((1, 2, 0)))
    np.testing.assert_allclose(perplexity(x, terms), [3.0, 3.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"classes": 10}, {}, "takes no labels: omit condition.labels"),
        ({"x_shape": (784,)}, {}, r"takes images \[H, W, C\], but an example has shape \[784\]"),
        ({"x_shape": (28, 28, 1)}, {"halvings": 3}, "28 x 28 can't be halved 3 times; set model.halvings lower"),
    ],
)
def test_what_it_is_not_for_is_one_line(given, options, message):
    with pytest.raises(UsageError, match=f"model 'vq'.*{message}"):
        components.vq(context(**given), **options)

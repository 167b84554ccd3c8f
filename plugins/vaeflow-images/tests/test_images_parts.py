"""The beta-binomial likelihood against SciPy, the networks' shapes, the losses' gradients, errors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from vaeflow_images import components
from vaeflow_images.beta_binomial import BetaBinomial, bits_per_dimension
from vaeflow_images.discriminator import Adversarial

from vaeflow.components.likelihoods import bernoulli
from vaeflow.contracts import ModelContext
from vaeflow.errors import UsageError

ALPHA = np.array([0.3, 1.0, 4.0, 3000.0], np.float32)
BETA = np.array([0.5, 1.0, 20.0, 700.0], np.float32)


def beta_binomial(levels):
    return components.beta_binomial((1,), levels=levels).distribution(tf.constant(np.log(np.stack([ALPHA, BETA], -1))))


@pytest.mark.parametrize("levels", [2, 7, 256])
def test_log_probabilities_are_those_of_scipy(levels):
    level = np.arange(levels)[:, None]
    found = beta_binomial(levels).log_prob(tf.constant((level / (levels - 1))[..., None], tf.float32))
    expected = scipy.stats.betabinom(levels - 1, ALPHA.astype(np.float64), BETA.astype(np.float64)).logpmf(level)
    likely = expected > -60.0
    np.testing.assert_allclose(np.asarray(found)[likely], expected[likely], atol=2e-3)
    np.testing.assert_allclose(np.exp(np.asarray(found, np.float64)).sum(0), 1.0, rtol=1e-3)


def test_samples_are_quantiles_and_the_mean_is_exact():
    uniform = np.random.default_rng(0).uniform(size=(300, 4, 1)).astype(np.float32)
    p, truth = beta_binomial(16), scipy.stats.betabinom(15, ALPHA.astype(np.float64), BETA.astype(np.float64))
    found = np.round(15 * p.sample(tf.constant(uniform)).numpy()[..., 0])
    apart = np.abs(found - truth.ppf(uniform[..., 0].astype(np.float64)))
    assert apart.max() <= 1.0
    assert apart.sum() <= 3.0  # of 1,200: float32 next to a step of the distribution function
    np.testing.assert_allclose(p.mean()[..., 0], truth.mean() / 15, rtol=1e-5)


def test_bits_per_dimension_are_those_of_a_uniform_code():
    """256 equally probable levels are 8 bits, and 3 nats of divergence over 12 elements 3 / 12 / log 2."""
    x = tf.constant(np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3)) / 255, tf.float32)
    p = BetaBinomial(tf.zeros((2, 5, 2, 2, 3)), tf.zeros((2, 5, 2, 2, 3)), 256, 3)

    class Terms:
        log_likelihood, kl = p.log_prob(x), tf.fill((5,), 3.0)

    np.testing.assert_allclose(bits_per_dimension(x, Terms), np.full(5, 8.0 + 3.0 / 12.0 / np.log(2.0)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 12, 3), (16, 16, 1)])
def test_networks_have_their_shapes(shape):
    encoder = components.encoder(shape, widths=(4, 6, 10))
    decoder = components.decoder(5, (*shape[:2], 2 * shape[2]), widths=(10, 6, 4))
    assert encoder(tf.zeros((2, *shape))).shape == (2, 10)
    assert decoder(tf.zeros((2, 5))).shape == (2, *shape[:2], 2 * shape[2])


class Parts:
    """Builds the likelihood that a config would select."""

    def likelihood(self, x_shape):
        return bernoulli(x_shape)


def context(x_shape=(8, 8, 1), classes=0):
    return ModelContext(x_shape=x_shape, latent_size=0, classes=classes, parts=Parts())


def model():
    keras.utils.set_random_seed(0)
    return components.autoencoder_kl(context(), channels=2, widths=(4, 4))


def test_the_divergence_is_that_of_its_gaussians():
    """The mean of log q - log p over many samples, within 5 standard errors."""
    built, rng = model(), np.random.default_rng(0)
    x = tf.constant(rng.integers(0, 2, (3, 8, 8, 1)), tf.float32)
    terms = built.terms(x, tf.constant(rng.normal(size=(4000, 3, 32)), tf.float32))
    ratio = (terms.log_q - terms.log_p).numpy()
    assert np.abs(ratio.mean(0) - terms.kl.numpy()).max() < 5 * ratio.std(0).max() / np.sqrt(4000)
    assert terms.z["z"].shape == (4000, 3, 4, 4, 2)


def test_each_loss_trains_its_own():
    """The model's loss falls along its gradient if the verdict alone counts; the discriminator learns alone."""
    built, objective = model(), Adversarial(1.0, 5, (4,), 3e-2)
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (16, 8, 8, 1)), tf.float32)
    noise = tf.zeros((1, 16, 32))
    player = objective.players[0]
    losses = []
    for step in range(25):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(player.loss(built.terms(x, noise), x, tf.constant(step, tf.int64)))
        losses.append(float(loss))
        player.optimizer.apply(tape.gradient(loss, [v.value for v in player.variables]), player.variables)
    assert losses[-1] < 0.5 * losses[0]

    class Free:
        """No cost of the divergence."""

        def penalty(self, kl, step):
            return tf.zeros_like(kl)

    terms = built.terms(x, noise)
    before, later = (objective.loss(terms, Free(), tf.constant(step, tf.int64)) for step in (4, 5))
    np.testing.assert_allclose(before, -terms.log_likelihood[0], rtol=1e-6)
    verdict = tf.reduce_mean(objective.network(terms.p_x.mean()[0]), axis=(1, 2, 3))
    np.testing.assert_allclose(before - later, verdict, rtol=1e-3, atol=1e-3)


@pytest.fixture
def features(tmp_path):
    """The file of a network with two maps of features."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    first = keras.layers.Conv2D(3, 3, activation="tanh", name="first")(inputs)
    second = keras.layers.Conv2D(4, 3, 2, activation="tanh", name="second")(first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, by Keras's save itself
        keras.Model(inputs, [first, second]).save(tmp_path / "features.keras")
    return tmp_path / "features.keras"


def test_the_perceptual_distance_is_its_formula(features):
    """In NumPy; an image has the distance 0 from itself; the network's weights have no gradient."""
    rng = np.random.default_rng(0)
    x, other = (tf.constant(rng.uniform(size=(5, 8, 8, 1)), tf.float32) for _ in range(2))
    perceptual = components.adversarial(features=str(features)).perceptual
    expected, network = 0.0, keras.models.load_model(features)
    for maps in zip(network(x), network(other), strict=True):
        one, two = (np.asarray(m, np.float64) / np.linalg.norm(m, axis=-1, keepdims=True) for m in maps)
        expected += np.square(one - two).sum(-1).mean((1, 2))
    with tf.GradientTape() as tape:
        tape.watch(other)
        found = perceptual(x, other)
    assert tape.watched_variables() == ()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(tape.gradient(found, other)).max() > 1e-3
    np.testing.assert_array_equal(perceptual(x, x), np.zeros(5))


def test_the_perceptual_distance_is_part_of_the_loss(features):
    built, x = model(), tf.constant(np.random.default_rng(0).integers(0, 2, (3, 8, 8, 1)), tf.float32)
    terms = replace(built.terms(x, tf.zeros((1, 3, 32))), x=x)
    free = SimpleNamespace(penalty=lambda kl, _step: kl)
    given = {"weight": 0.0, "features": str(features), "perceptual_weight": 7.0}
    without, with_it = (components.adversarial(**options) for options in ({"weight": 0.0}, given))
    more = with_it.loss(terms, free, 0) - without.loss(terms, free, 0)
    np.testing.assert_allclose(more, 7.0 * with_it.perceptual(x, terms.p_x.mean()[0]), rtol=1e-2)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's save
def test_a_file_that_does_not_fit_is_one_line(features, tmp_path):
    (tmp_path / "text.keras").write_text("no network")
    layer = keras.layers.Lambda(lambda x: x, output_shape=(8, 8, 1))
    keras.Sequential([keras.Input((8, 8, 1)), layer]).save(tmp_path / "code.keras")
    for name in ("text", "code"):
        with pytest.raises(UsageError, match=rf"objective\.features: .*{name}\.keras can't be loaded"):
            components.adversarial(features=str(tmp_path / f"{name}.keras"))
    with pytest.raises(UsageError, match=r"has the SHA-256 \w{64}, not objective\.features_sha256 = 00"):
        components.adversarial(features=str(features), features_sha256="00")
    missing = components.adversarial(features=str(tmp_path / "missing.keras"))
    with pytest.raises(UsageError, match=r"objective\.features: there is no file .*missing\.keras"):
        missing.perceptual(tf.zeros((1, 8, 8, 1)), tf.zeros((1, 8, 8, 1)))
    fits_not = components.adversarial(features=str(features))
    with pytest.raises(UsageError, match=r"features\.keras can't take x \[1, 8, 8, 3\]"):
        fits_not.perceptual(tf.zeros((1, 8, 8, 3)), tf.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: components.autoencoder_kl(context(classes=3)), "model 'autoencoder-kl' takes no labels"),
        (lambda: components.autoencoder_kl(context((64,))), r"takes images \[H, W, C\], .* has shape \[64\]"),
        (lambda: components.encoder((28, 28, 1), widths=(4, 4, 4, 4)), "28 x 28 can't be halved 3 times"),
        (lambda: components.decoder(2, (7, 8, 1), widths=(4, 4)), "7 x 8 can't be halved 1 times"),
    ],
)
def test_what_they_are_not_for_is_one_line(build, message):
    with pytest.raises(UsageError, match=message):
        build()

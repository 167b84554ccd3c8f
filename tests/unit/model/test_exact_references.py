"""Linear-Gaussian models of one and two layers: bounds below log p(x), and trained optima, have closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.linear_gaussian import LinearGaussian, PosteriorOfRows, linear_vae
from helpers.linear_layers import TwoLayers, exact_posteriors, two_layers
from scipy import stats

from vaeflow.components import likelihoods, objectives, schedules
from vaeflow.contracts import ModelContext, Timeline
from vaeflow.engine.step import Trainer
from vaeflow.model.latents import noise_size
from vaeflow.training.sanity_check.model import try_model

SCHEDULE, STEP = schedules.constant(Timeline(1, 1)), tf.constant(0, tf.int64)
ROWS, SAMPLES = 20_000, (1, 2, 8, 64)


def bounds(model, x, samples):
    """Return the importance weighted bound of each row of x, [B] nats: the ELBO, by samples, for one sample."""
    terms = model.terms(tf.constant(x, tf.float32), builders.normal_noise(samples, len(x), noise_size(model.latents)))
    return -objectives.iwae(samples=samples).loss(terms, SCHEDULE, STEP).numpy()


def require_chain(model, x, evidence, elbo):
    """Require the ELBO <= bounds that rise with samples <= log p(x), in the mean over many copies of one example."""
    found = [bounds(model, np.tile(x, (ROWS, 1)), samples) for samples in SAMPLES]
    means, errors = (np.array([float(statistic(one)) for one in found]) for statistic in (np.mean, stats.sem))
    assert means[0] == pytest.approx(elbo, abs=4.0 * float(errors[0]))
    assert (np.diff(means) > 4.0 * np.hypot(errors[1:], errors[:-1])).all()
    assert (means < evidence + 4.0 * errors).all()
    assert means[-1] == pytest.approx(evidence, abs=0.03)


def divergence(mean, log_var, other_mean, other_log_var):
    ratio = np.exp(log_var - other_log_var)
    return 0.5 * (ratio - 1.0 - np.log(ratio) + (mean - other_mean) ** 2 / np.exp(other_log_var)).sum()


# One layer


LINEAR, OBSERVED = LinearGaussian.random(3), np.array([1.0, -2.0, 0.5, 2.0, -1.0])


def test_one_layer_has_a_chain_of_bounds():
    mean, variance = (one[0] for one in LINEAR.posterior(OBSERVED[None]))
    other_mean, other_log_var = mean + np.array([0.4, -0.3]), np.log(variance) + np.array([0.5, -0.6])
    model = LINEAR.vae(PosteriorOfRows(*(np.tile(one, (ROWS, 1)) for one in (other_mean, other_log_var))))
    evidence = float(LINEAR.evidence(OBSERVED))
    elbo = evidence - divergence(other_mean, other_log_var, mean, np.log(variance))
    require_chain(model, OBSERVED, evidence, elbo)


@pytest.mark.parametrize("samples", [1, 7])
def test_one_layer_is_exact_at_the_true_posterior(samples):
    model, x = LINEAR.vae(), np.random.default_rng(0).normal(scale=3.0, size=(50, 5))
    variance = LINEAR.posterior(x)[1][0]
    head, to_mean = model.posterior, LINEAR.w / LINEAR.s**2 * variance
    head.mu.set_weights([to_mean, -LINEAR.b @ to_mean])
    head.log_var.set_weights([np.zeros((5, 2)), np.log(variance)])
    np.testing.assert_allclose(bounds(model, x, samples), LINEAR.evidence(x), rtol=1e-5, atol=1e-4)


# Two layers


def made(seed=1, width=5):
    """Return a model of two layers with random weights, and these."""
    model = two_layers(ModelContext((width,), 0, 0, SimpleNamespace(likelihood=likelihood)))
    return model, TwoLayers.random(seed, width)


def likelihood(x_shape):
    return likelihoods.gaussian(x_shape, variance="shared")


def test_two_layers_are_a_model():
    model, _ = made()
    bound = SimpleNamespace(registered=SimpleNamespace(label="two layers"))
    try_model(bound, model)
    assert [group.name for group in model.latents] == ["top", "low"]


def test_two_layers_have_a_chain_of_bounds():
    model, layers = made()
    layers.put_into(model)
    exact = exact_posteriors(layers)
    off = exact.moved(top=0.3, low=np.array([0.3, -0.3]))
    off.put_into(model)
    require_chain(model, OBSERVED, float(layers.evidence(OBSERVED)), layers.elbo(OBSERVED, off))


@pytest.mark.parametrize("samples", [1, 7])
def test_two_layers_are_exact_at_the_true_posterior(samples):
    model, layers = made()
    layers.put_into(model)
    exact_posteriors(layers).put_into(model)
    x = np.random.default_rng(0).normal(scale=3.0, size=(50, 5))
    np.testing.assert_allclose(bounds(model, x, samples), layers.evidence(x), rtol=1e-5, atol=1e-4)


# Trained


def examples(count=200, width=8, latent=2):
    rng = np.random.default_rng(5)
    w = rng.normal(size=(width, latent)) * [2.0, 1.0]
    return (rng.normal(size=(count, latent)) @ w.T + 0.5 * rng.normal(size=(count, width)) + 1.0).astype(np.float32)


def best_log_likelihood(x, latent=2):
    """Return the mean log-likelihood at the maximum of probabilistic PCA (Tipping and Bishop 1999, section 3.2)."""
    width = x.shape[1]
    values = np.linalg.eigvalsh(np.cov(x.astype(np.float64), rowvar=False, bias=True))[::-1]
    noise = values[latent:].mean()
    logs = np.log(values[:latent]).sum() + (width - latent) * np.log(noise)
    return -0.5 * (width * np.log(2.0 * np.pi) + logs + width)


def test_the_closed_form_is_the_maximum():
    x, latent = examples(), 2
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float64), rowvar=False, bias=True))
    noise = values[:-latent].mean()
    w = vectors[:, -latent:] * np.sqrt(values[-latent:] - noise)
    best = LinearGaussian(w, x.mean(axis=0), np.sqrt(noise))
    assert best_log_likelihood(x) == pytest.approx(best.evidence(x).mean(), abs=1e-6)


def train(model, x, steps):
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, steps))
    training = builders.Training(x, model, batch_size=len(x), optimizer=optimizer)
    Trainer(training.step()).execute(0, steps)


@pytest.mark.parametrize(
    "build", [lambda: linear_vae(8, 2, variance="shared"), lambda: made(width=8)[0]], ids=["one layer", "two layers"]
)
def test_the_trained_optimum_is_that_of_probabilistic_pca(build):
    x, model = examples(), build()
    train(model, x, steps=400)
    best = best_log_likelihood(x)
    elbo = np.mean(bounds(model, np.repeat(x, 50, axis=0), 1))
    tight = np.mean(bounds(model, x, 200))
    assert elbo == pytest.approx(best, abs=0.05)
    assert elbo - 0.01 < tight < best + 0.01

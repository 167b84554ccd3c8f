"""Log p(x) by importance sampling: exact values, error bars, and bits that depend on nothing but seed and example."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.linear_gaussian import LinearGaussian

from vaeflow.components import binarizations
from vaeflow.contracts import Split
from vaeflow.data.batches import Batches
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine import importance
from vaeflow.engine.importance import ImportanceSampler, Tile
from vaeflow.model.moving_average import MovingAverage

EXACT = LinearGaussian.random(3)
X = np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """A posterior that is near the true one, but not equal to it."""
    model = EXACT.vae()
    mean, variance = EXACT.posterior(X)
    head = model.posterior
    for layer, values in ((head.mu, mean + 0.3), (head.log_var, np.log(1.5 * variance))):
        kernel, bias = layer.get_weights()
        layer.set_weights([np.zeros_like(kernel), np.reshape(values, bias.shape)])
    return model


def sampler(model, x, samples, *, seed=0, ema=None, **options):
    batches = Batches.of("test", Split(x), binarizations.none(), seed=0, batch_size=7)
    average = MovingAverage(model.trainable_variables, ema)
    return ImportanceSampler(SingleStrategy(), model, batches, average, samples=samples, seed=seed, **options)


def estimated(model, x, samples, **options):
    one = sampler(model, x, samples, **options)
    return one.estimate(np.concatenate(list(one.all_results())))


@pytest.mark.parametrize("samples", [10, 100, 1000])
def test_the_exact_value_is_within_its_error(model, samples):
    """2,000 independent estimates: their mean lies below log p(x) by half of the relative variance (delta method)."""
    found = estimated(model, np.repeat(X, 2000, axis=0), samples)
    exact = float(EXACT.evidence(X))
    bias = np.mean(1.0 / found.effective - 1.0 / samples) / 2.0
    assert found.mean == pytest.approx(exact - bias, abs=4.0 * found.monte_carlo_error + bias / 2.0)
    assert found.monte_carlo_error == pytest.approx(found.standard_error, rel=0.3)  # one x: there is no other variance


def test_error_bars_cover_the_exact_value(model):
    """Of 200 estimates with 1,000 samples each, about 95% are within two of their own errors."""
    found = estimated(model, np.repeat(X, 200, axis=0), 1000)
    errors = np.sqrt(1.0 / found.effective - 1.0 / 1000)
    inside = np.abs(found.values - float(EXACT.evidence(X))) < 2.0 * errors
    assert 0.90 < inside.mean() < 0.99


def test_many_examples_at_once_have_the_bits_of_each_alone(model, monkeypatch):
    x = np.random.default_rng(2).normal(size=(23, 5)).astype(np.float32)
    whole = estimated(model, x, 250)
    again = sampler(model, x, 250, concurrent=2)
    shares = np.concatenate([again.results(0, 1), again.results(1, 2)]) if again.groups > 2 else again.results(0, 3)
    assert np.array_equal(again.estimate(shares[:23]).values, whole.values)
    assert np.array_equal(estimated(model, x, 250, concurrent=3).values, whole.values)


def test_more_samples_begin_with_the_same_ones(model):
    """The first 100 of 150 samples are those of an estimate with 100."""
    one, other = (sampler(model, X, samples) for samples in (100, 150))
    chunk = [np.asarray(each._log_weights(np.int64(0), np.int64(0))) for each in (one, other)]
    assert np.array_equal(*chunk)
    rest = np.asarray(other._log_weights(np.int64(0), np.int64(1)))
    assert np.isfinite(rest[:50, 0]).all()
    assert np.isneginf(rest[50:]).all()


def test_another_seed_gives_another_estimate(model):
    one, other = (estimated(model, X, 50, seed=seed).mean for seed in (0, 1))
    assert one != other


def test_the_moving_average_is_what_is_evaluated(model):
    """The averages are those of before; the weights are changed."""
    batches = Batches.of("test", Split(X), binarizations.none(), seed=0, batch_size=7)
    average = MovingAverage(model.trainable_variables, 0.9)
    before = estimated(model, X, 50).mean
    kernel = model.decoder.trainable_variables[0]
    kept = np.asarray(kernel.value)
    kernel.assign(kept + 1.0)
    one = ImportanceSampler(SingleStrategy(), model, batches, average, samples=50, seed=0)
    changed = estimated(model, X, 50).mean
    found = one.estimate(np.concatenate(list(one.all_results()))).mean
    kernel.assign(kept)
    assert found == before != changed


def test_weights_far_apart_do_not_overflow():
    """Log weights of hundreds of nats, and one tile after another that is larger."""
    largest, total, squares = np.full(1, -np.inf), np.zeros(1), np.zeros(1)
    for tile in ([[-2000.0], [-1000.0]], [[-500.0], [-np.inf]], [[-500.0], [-500.0]]):
        largest, total, squares = (np.asarray(v) for v in importance._added(np.array(tile), largest, total, squares))
    assert largest + np.log(total) == pytest.approx(-500.0 + np.log(3.0))
    assert total**2 / squares == pytest.approx(3.0)


def test_the_tile_depends_on_the_model_alone(model):
    assert Tile.of(model) == Tile(10, 100)

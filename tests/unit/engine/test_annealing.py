"""Log p(x) by annealed importance sampling, beside exact values."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.linear_gaussian import LinearGaussian
from scipy import stats

from vaeflow.components import binarizations
from vaeflow.contracts import Split
from vaeflow.data.batches import Batches
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine.annealing import FIRST_STEP, AnnealedSampler, hamiltonian
from vaeflow.engine.importance import ImportanceSampler
from vaeflow.model.moving_average import MovingAverage

pytestmark = pytest.mark.slow  # it trains or samples for seconds

EXACT = LinearGaussian.random(3)
X = np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)


def estimated(model, x, samples, steps=None):
    batches = Batches.of("test", Split(x), binarizations.none(), seed=0, batch_size=7)
    given = (SingleStrategy(), model, batches, MovingAverage(model.trainable_variables, None))
    options = {"samples": samples, "seed": 0}
    sampler = ImportanceSampler(*given, **options) if steps is None else AnnealedSampler(*given, steps=steps, **options)
    return sampler.estimate(np.concatenate(list(sampler.all_results())))


@pytest.fixture(scope="module")
def model():
    """The encoder has its initial weights: its posterior is a poor one."""
    return EXACT.vae()


@pytest.mark.parametrize("steps", [5, 20])
def test_the_exact_value_is_within_its_error(model, steps):
    """100 examples with the same x, so 100 independent estimates."""
    found = estimated(model, np.repeat(X, 100, axis=0), 100, steps)
    bias = np.mean(1.0 / found.effective - 1.0 / 100) / 2.0
    exact = float(EXACT.evidence(X))
    assert found.mean == pytest.approx(exact - bias, abs=4.0 * found.monte_carlo_error + bias / 2.0)


def test_more_steps_lose_fewer_samples(model):
    few, many = (estimated(model, X, 100, steps) for steps in (3, 30))
    assert 100.0 - many.effective[0] < 0.3 * (100.0 - few.effective[0])


def test_a_poor_encoder_does_not_matter(model):
    """Importance samples of the prior's size far away from the posterior have few effective ones."""
    bias = model.posterior.mu.trainable_variables[-1]
    bias.assign(tf.fill(bias.shape, 4.0))
    poor, annealed = estimated(model, X, 100), estimated(model, X, 100, 20)
    bias.assign(tf.zeros(bias.shape))
    assert annealed.effective[0] > 3.0 * poor.effective[0]
    assert annealed.mean == pytest.approx(float(EXACT.evidence(X)), abs=0.3)


def test_the_chains_keep_their_density():
    """Chains that start in a normal of scale 2 stay in it."""
    rng = np.random.default_rng(0)
    z = tf.constant(2.0 * rng.standard_normal((1, 4000, 1)), tf.float32)
    size = tf.fill((1, 4000), FIRST_STEP)
    for _ in range(5):
        momentum = tf.constant(rng.standard_normal(z.shape), tf.float32)
        uniform = tf.constant(rng.uniform(size=size.shape), tf.float32)
        z, _ = hamiltonian(lambda at: -tf.reduce_sum(at**2, axis=-1) / 8.0, z, size * 5.0, momentum, uniform)
    assert stats.kstest(np.asarray(z).ravel(), stats.norm(scale=2.0).cdf).pvalue > 0.001


def test_a_proposal_that_is_not_finite_is_rejected():
    z = tf.zeros((1, 3, 2))
    moved, size = hamiltonian(
        lambda at: tf.reduce_sum(at, axis=-1) * np.nan, z, tf.ones((1, 3)), tf.ones_like(z), tf.fill((1, 3), 0.5)
    )
    assert np.array_equal(moved, z)
    assert (np.asarray(size) < 1.0).all()

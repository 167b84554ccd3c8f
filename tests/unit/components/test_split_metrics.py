"""Metrics of a whole split, beside closed forms of a linear-Gaussian model and NumPy by brute force."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from helpers.linear_gaussian import LinearGaussian
from scipy import special, stats
from scipy.spatial.distance import cdist

from vaeflow.components import binarizations, metrics, posteriors
from vaeflow.components.aggregated_posterior import densities
from vaeflow.components.calibration import distance, ranks
from vaeflow.components.precision_recall import precision_recall
from vaeflow.contracts import Dataset, Features, LatentGroup, Split
from vaeflow.data.batches import Batches
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine.whole_split import ModelOfSplit, rows_of
from vaeflow.errors import UsageError
from vaeflow.model.moving_average import MovingAverage

EXACT = LinearGaussian.random(3)
GROUPS = (LatentGroup("top", (3,), 3), LatentGroup("bottom", (2, 2, 1), 4))


def drawn(count, seed=1):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, EXACT.w.shape[1]))
    return (z @ EXACT.w.T + EXACT.b + EXACT.s * rng.normal(size=(count, len(EXACT.b)))).astype(np.float32)


def model(*, wider=1.0, shift=0.0):
    """q is the true posterior, or one with another standard deviation and mean."""
    made = EXACT.vae(posteriors.diagonal_gaussian(EXACT.w.shape[1]))
    _, variance = EXACT.posterior(EXACT.b[None])
    kernel = EXACT.w / EXACT.s**2 * variance[0]
    made.posterior.mu.set_weights([kernel, -EXACT.b @ kernel + shift])
    zeros = np.zeros_like(kernel)
    made.posterior.log_var.set_weights([zeros, np.log(variance[0] * wider**2)])
    return made


def split_of(made, x, *, rows=50, samples=1, features=None):
    batches = Batches.of("test", Split(x), binarizations.none(), seed=0, batch_size=7)
    average = MovingAverage(made.trainable_variables, None)
    dataset = Dataset("made", Split(x), None, Split(x), "made for a test")
    return ModelOfSplit(
        SingleStrategy(), made, batches, average, dataset, rows=rows, samples=samples, seed=0, features=features
    )


@pytest.fixture(scope="module")
def exact():
    return model()


def test_densities_are_those_of_all_pairs(exact):
    """log q(z_i given x_j) of all i and j, by SciPy; 120 examples in blocks of 50, the last with padding."""
    x = drawn(120)
    found = densities(split_of(exact, x), 1000, "mutual-information")
    mean, variance = EXACT.posterior(x.astype(np.float64))
    pairs = stats.norm.logpdf(found.z[:, None], mean, np.sqrt(variance))
    joint = special.logsumexp(pairs.sum(-1), axis=1) - math.log(120)
    np.testing.assert_allclose(found.own, np.diagonal(pairs.sum(-1)), atol=2e-4)
    np.testing.assert_allclose(found.aggregated, joint, atol=2e-4)
    by_dimension = special.logsumexp(pairs, axis=1) - math.log(120) - stats.norm.logpdf(found.z)
    np.testing.assert_allclose(found.dimensions, by_dimension, atol=2e-4)
    np.testing.assert_allclose(found.prior, stats.norm.logpdf(found.z).sum(-1), atol=2e-4)


def test_any_number_of_rows_gives_the_same_densities(exact):
    x = drawn(120)
    one, other = (densities(split_of(exact, x, rows=rows), 100, "m") for rows in (50, 9))
    assert len(one.own) == 100
    np.testing.assert_allclose(one.aggregated, other.aggregated, atol=1e-4)


def test_mutual_information_of_a_linear_model(exact):
    """With the true posterior it is 1/2 sum_d log(1 + |w_d|^2 / s^2), and q(z) is p(z)."""
    found = metrics.mutual_information(examples=2000)(split_of(exact, drawn(2000), rows=500)).values
    true = 0.5 * np.log1p((EXACT.w**2).sum(0) / EXACT.s**2).sum()
    assert found[""] == pytest.approx(true, abs=4.0 * found["standard_error"])
    assert abs(found["aggregated_kl"]) < 0.05
    assert found["rate"] - found["aggregated_kl"] == pytest.approx(found[""], abs=1e-6)
    assert found["limit"] == pytest.approx(math.log(2000))


def test_the_aggregated_posterior_of_a_biased_encoder():
    """q(z) is N(shift, I): KL(q(z), p(z)) is |shift|^2 / 2 in each dimension, and they are independent."""
    found = metrics.aggregated_posterior()(split_of(model(shift=1.0), drawn(2000), rows=500))
    assert found.values[""] == pytest.approx(1.0, abs=4.0 * found.values["standard_error"])
    np.testing.assert_allclose(found.arrays["dimension_kl"], [0.5, 0.5], atol=0.1)
    assert abs(found.values["total_correlation"]) < 0.05
    np.testing.assert_allclose(found.arrays["mean"], [1.0, 1.0], atol=0.1)
    np.testing.assert_allclose(found.arrays["variance"], [1.0, 1.0], atol=0.15)
    np.testing.assert_allclose(found.arrays["prior_mean"], [0.0, 0.0], atol=0.1)
    shares = [(one.density * np.diff(one.edges)).sum() for one in found.histograms]
    assert shares == pytest.approx([1.0, 1.0])


def test_the_true_posterior_is_calibrated(exact):
    found = metrics.calibration(simulations=1000, draws=99)(split_of(exact, drawn(40), rows=250))
    assert found.values[""] < 1.5 * found.values["critical"]
    uniform = stats.chisquare(found.arrays["ranks"][0])
    assert uniform.pvalue > 1e-3


@pytest.mark.parametrize(
    ("change", "where"), [({"wider": 0.5}, "ends"), ({"wider": 2.0}, "middle"), ({"shift": 0.7}, 0)]
)
def test_wrong_posteriors_show_in_the_ranks(change, where):
    found = ranks(split_of(model(**change), drawn(40), rows=250), 500, 19)
    counts = np.bincount(found[:, 0].astype(int), minlength=20) / 500
    ends, middle = counts[[0, 1, 18, 19]].sum(), counts[8:12].sum()
    assert {"ends": ends > 0.35, "middle": middle > 0.3, 0: counts[:4].sum() > 0.35}[where]
    assert distance(found[:, 0], 19) > 1.358 / math.sqrt(500)


def test_rate_and_distortion_in_bits(exact):
    x = drawn(60)
    found = metrics.rate_distortion()(split_of(exact, x, samples=3)).values
    mean, variance = EXACT.posterior(x)
    kl = 0.5 * (mean**2 + variance - 1.0 - np.log(variance)).sum(-1).mean()
    assert found["rate"] == pytest.approx(kl, rel=1e-4)
    elbo = -(found["rate"] + found["distortion"])
    assert elbo == pytest.approx(EXACT.evidence(x).mean(), abs=0.1)  # the bound of the true posterior is exact
    assert found["bits_per_dimension"] == pytest.approx(-elbo / x.shape[1] / math.log(2.0))
    assert found["rate_bits"] + found["distortion_bits"] == pytest.approx(found["bits_per_dimension"])


def test_the_error_of_reconstructions(exact):
    x = drawn(60)
    found = metrics.reconstruction_error()(split_of(exact, x)).values
    apart = x - (EXACT.posterior(x)[0] @ EXACT.w.T + EXACT.b)
    assert found["squared"] == pytest.approx((apart**2).mean(), rel=1e-4)
    assert found["root"] == pytest.approx(math.sqrt((apart**2).mean()), rel=1e-4)
    assert found["absolute"] == pytest.approx(np.abs(apart).mean(), rel=1e-4)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_precision_and_recall_by_brute_force(monkeypatch, neighbours):
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(70, 3)), 0.7 * rng.normal(size=(60, 3)) + 0.5
    monkeypatch.setattr("vaeflow.components.precision_recall.BLOCK", 700)  # ten rows at a time

    def inside(points, of_set):
        radii = np.sort(cdist(of_set, of_set), axis=1)[:, neighbours]
        return np.mean([(cdist([one], of_set)[0] <= radii).any() for one in points])

    assert precision_recall(real, made, neighbours) == (inside(made, real), inside(real, made))


def test_samples_of_the_true_model_have_both(exact):
    found = metrics.precision_recall(neighbours=3)(split_of(exact, drawn(600), rows=200))
    assert min(found.values.values()) > 0.8
    assert found.about["features"] == "the means of this run's own encoder"


def test_a_feature_network_that_is_named(exact):
    """By the features of which all examples and samples are equal, both shares are 1; by others they are not."""
    same = Features("a constant", lambda x: 0.0 * x)
    found = metrics.precision_recall()(split_of(exact, drawn(60) + 50.0, features=same))
    assert (found.values, found.about["features"]) == ({"precision": 1.0, "recall": 1.0}, "a constant")
    own = Features("x", lambda x: x)
    assert metrics.precision_recall()(split_of(exact, drawn(60) + 50.0, features=own)).values["precision"] == 0.0


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda x: x @ tf.zeros((3, 3)), r"net can't take x \[50, 5\]"),
        (tf.reduce_sum, r"net returns the shape \[\], not \[50, F\]"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(exact, compute, message):
    with pytest.raises(UsageError, match=message):
        metrics.precision_recall()(split_of(exact, drawn(60), features=Features("net", compute)))


def test_too_few_examples(exact):
    with pytest.raises(UsageError, match="3 neighbours of 3 examples"):
        metrics.precision_recall()(split_of(exact, drawn(3)))


@pytest.mark.parametrize("name", ["mutual_information", "aggregated_posterior", "calibration"])
def test_several_groups_are_refused(name):
    with pytest.raises(UsageError, match=f"metric '{name.replace('_', '-')}' is for models with one group of latents"):
        getattr(metrics, name)()(SimpleNamespace(model=SimpleNamespace(latents=GROUPS), examples=9))


def test_rows_are_bounded_by_memory(exact):
    assert rows_of(exact, 200) == 200
    assert rows_of(exact, 10**6) == 500

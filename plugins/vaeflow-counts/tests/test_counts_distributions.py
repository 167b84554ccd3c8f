"""Likelihoods against SciPy; the data sets; the model's terms and errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import tensorflow as tf
from vaeflow_counts import datasets, likelihoods, models
from vaeflow_counts.simulation import simulate
from vaeflow_counts.sparse import SparseRows

from vaeflow.contracts import ModelContext
from vaeflow.errors import DataError, UsageError

LOG_MEANS = np.array([-3.0, 0.0, 1.5, 4.0], np.float32)
THETA = 1.7


def negative_binomial(**options):
    return likelihoods.negative_binomial((4,), dispersion=THETA, **options).distribution(tf.constant(LOG_MEANS))


def inflated(logits):
    built = likelihoods.zero_inflated_negative_binomial((4,), dispersion=THETA)
    return built.distribution(tf.constant(np.concatenate([LOG_MEANS, np.full(4, logits, np.float32)])))


def of_scipy():
    mu = np.exp(LOG_MEANS.astype(np.float64))
    return scipy.stats.nbinom(THETA, THETA / (THETA + mu))


@pytest.mark.parametrize("counts", [0, 1, 7, 400])
def test_log_probabilities_are_those_of_scipy(counts):
    x = np.full(4, counts, np.float32)
    expected = of_scipy().logpmf(counts)
    np.testing.assert_allclose(negative_binomial().log_prob_of_elements(tf.constant(x)), expected, rtol=1e-4, atol=1e-4)
    assert float(negative_binomial().log_prob(tf.constant(x))) == pytest.approx(expected.sum(), rel=1e-4)
    as_bytes = negative_binomial(counts_per_unit=255).log_prob(tf.constant(x / 255))
    assert float(as_bytes) == pytest.approx(expected.sum(), rel=1e-4)


@pytest.mark.parametrize("logits", [-30.0, -1.0, 2.0])
def test_additional_zeros_are_a_mixture(logits):
    share = 1.0 / (1.0 + np.exp(-logits))
    for counts in (0, 3):
        expected = np.log((1.0 - share) * of_scipy().pmf(counts) + share * (counts == 0)).sum()
        found = inflated(logits).log_prob(tf.fill((4,), float(counts)))
        assert float(found) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(inflated(logits).mean(), (1.0 - share) * np.exp(LOG_MEANS), rtol=1e-5)


@pytest.mark.parametrize("zeros", [False, True])
def test_probabilities_add_up_to_one(zeros):
    build = likelihoods.zero_inflated_negative_binomial if zeros else likelihoods.negative_binomial
    parameters = np.stack([LOG_MEANS, np.full(4, 0.5, np.float32)], axis=-1)[:, : 1 + zeros]
    counts = np.arange(3000, dtype=np.float32)[:, None, None]
    log_p = build((1,), dispersion=THETA).distribution(tf.constant(parameters)).log_prob(tf.constant(counts))
    np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(0), np.ones(4), rtol=1e-4)


def test_samples_are_quantiles():
    uniform = np.random.default_rng(0).uniform(size=(500, 4)).astype(np.float32)
    found = negative_binomial().sample(tf.constant(uniform)).numpy()
    apart = np.abs(found - of_scipy().ppf(uniform.astype(np.float64)))
    assert apart.max() <= 1.0
    assert apart.sum() <= 4.0  # of 2,000: float32 next to a step of the distribution function
    zeros = (inflated(0.5).sample(tf.constant(uniform)).numpy() == 0.0).mean(0)
    share = 1.0 / (1.0 + np.exp(-0.5))
    expected = share + (1.0 - share) * of_scipy().pmf(0)
    np.testing.assert_allclose(zeros, expected, atol=5 * np.sqrt(0.25 / 500))


def test_a_large_dispersion_is_poisson():
    built = likelihoods.negative_binomial((4,), dispersion=1e6).distribution(tf.constant(LOG_MEANS))
    expected = scipy.stats.poisson(np.exp(LOG_MEANS.astype(np.float64))).logpmf(3)
    np.testing.assert_allclose(built.log_prob_of_elements(tf.fill((4,), 3.0)), expected, atol=0.02)


# The model


def model(classes=0, **options):
    keras.utils.set_random_seed(0)
    return models.counts(ModelContext((6,), 2, classes, parts=None), hidden=(5,), **options)


def test_the_means_add_up_to_the_total():
    x = tf.constant(np.random.default_rng(0).poisson(3.0, (4, 6)).astype(np.float32))
    terms = model().terms(x, tf.zeros((3, 4, 2)))
    totals = tf.broadcast_to(tf.reduce_sum(x, axis=-1), (3, 4))
    np.testing.assert_allclose(tf.reduce_sum(terms.p_x.mean(), axis=-1), totals, rtol=1e-5)
    assert terms.log_likelihood.shape == (3, 4)


def test_the_average_total_is_that_of_examples_without_padding():
    built = model()
    x = tf.constant([[1.0] * 6, [2.0] * 6, [100.0] * 6])
    built.terms(x, tf.zeros((1, 3, 2)), valid=tf.constant([1.0, 1.0, 0.0]), training=True)
    assert float(built.average) == pytest.approx(0.99 + 0.01 * 9.0)
    built.terms(x, tf.zeros((1, 3, 2)), training=False)
    assert float(built.average) == pytest.approx(0.99 + 0.01 * 9.0)


def test_batches_change_posterior_and_counts():
    built = model(classes=2, zero_inflation=True)
    x = tf.constant(np.random.default_rng(0).poisson(3.0, (1, 6)).astype(np.float32))
    z = {"z": tf.zeros((1, 2))}
    one, other = tf.eye(2)[:1], tf.eye(2)[1:]
    assert np.abs(built.encode(x, labels=one)["z"] - built.encode(x, labels=other)["z"]).max() > 1e-3
    assert np.abs(built.decode(z, labels=one).mean() - built.decode(z, labels=other).mean()).max() > 1e-4


def test_examples_that_are_no_vectors_are_one_line():
    with pytest.raises(UsageError, match=r"model 'counts' takes vectors of counts \[G\], .* has shape \[8, 8, 1\]"):
        models.counts(ModelContext((8, 8, 1), 2, 0, parts=None))


# Data


def test_simulated_counts_have_their_means_and_variances():
    found = simulate(4000, 20, 3, 2, total=500.0, dispersion=2.0, seed=1)
    standardized = (found.counts - found.means) / np.sqrt(found.means + found.means**2 / found.dispersion)
    assert abs(standardized.mean()) < 5 / np.sqrt(standardized.size)
    assert standardized.var() == pytest.approx(1.0, abs=0.1)
    again = datasets.simulated_counts(None, examples=4000, features=20, groups=3, total=500.0, seed=1)
    np.testing.assert_array_equal(again.train.x, found.counts[:3200])
    assert set(np.unique(again.train.y)) == {0, 1}


@pytest.fixture
def matrix():
    return scipy.sparse.random(50, 7, 0.3, "csr", random_state=0, data_rvs=lambda n: np.arange(1, n + 1).astype(float))


def test_sparse_rows_are_those_of_the_dense_matrix(matrix):
    rows = np.array([4, 30, 2])
    lazy, dense = SparseRows(matrix, rows), matrix.toarray()[rows].astype(np.float32)
    for index in (slice(None), [2, 0], np.array([1]), slice(1, 3)):
        np.testing.assert_array_equal(lazy[index], dense[index])
    np.testing.assert_array_equal(lazy[1], dense[1])
    assert (lazy.shape, len(lazy), lazy.nbytes, lazy.dtype) == ((3, 7), 3, 84, np.float32)


def test_a_sparse_file_is_split_by_the_seed(matrix, tmp_path):
    scipy.sparse.save_npz(tmp_path / "counts.npz", matrix)
    np.save(tmp_path / "batches.npy", np.arange(50) % 3)
    options = {"path": str(tmp_path / "counts.npz"), "batches": str(tmp_path / "batches.npy")}
    found = datasets.sparse_counts(None, **options)
    other = datasets.sparse_counts(None, **options, seed=1)
    assert (len(found.train), len(found.test)) == (40, 10)
    together = np.concatenate([found.train.x.rows, found.test.x.rows])
    np.testing.assert_array_equal(np.sort(together), np.arange(50))
    np.testing.assert_array_equal(found.test.y, found.test.x.rows % 3)
    assert set(found.test.x.rows) != set(other.test.x.rows)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder, m: scipy.sparse.save_npz(folder / "counts.npz", 0.5 * m), r"\.5 is no count"),
        (lambda folder, m: scipy.sparse.save_npz(folder / "counts.npz", -m), r"-\d+ is no count"),
        (lambda folder, m: (folder / "counts.npz").write_bytes(b"PK"), "not a sparse matrix as scipy.sparse.save_npz"),
        (lambda folder, m: None, "counts.npz is not a file"),
    ],
)
def test_a_file_that_holds_no_counts_is_one_line(harm, message, matrix, tmp_path):
    harm(tmp_path, matrix)
    with pytest.raises(DataError, match=message):
        datasets.sparse_counts(None, path=str(tmp_path / "counts.npz"))


def test_batches_that_do_not_fit_are_one_line(matrix, tmp_path):
    scipy.sparse.save_npz(tmp_path / "counts.npz", matrix)
    np.save(tmp_path / "batches.npy", np.arange(49))
    with pytest.raises(DataError, match=r"batches must be 50 integers from 0, one per row, not int64 \(49,\)"):
        datasets.sparse_counts(None, path=str(tmp_path / "counts.npz"), batches=str(tmp_path / "batches.npy"))


@pytest.mark.filterwarnings("default")  # of pandas, by anndata
def test_anndata_is_read_or_named(matrix, tmp_path):
    path = tmp_path / "counts.h5ad"
    path.touch()
    try:
        import anndata
    except ImportError:
        with pytest.raises(DataError, match=r"need the library anndata: pip install 'vaeflow-counts\[anndata\]'"):
            datasets.sparse_counts(None, path=str(path))
        return
    import pandas as pd

    anndata.settings.allow_write_nullable_strings = True  # pandas 3 makes such names of rows

    obs = pd.DataFrame({"batch": pd.Categorical(["a", "b"] * 25)}, index=[str(i) for i in range(50)])
    anndata.AnnData(X=matrix, obs=obs).write_h5ad(path)
    found = datasets.sparse_counts(None, path=str(path), batches="batch")
    np.testing.assert_array_equal(found.train.x[:], matrix.toarray()[found.train.x.rows])
    np.testing.assert_array_equal(found.train.y, found.train.x.rows % 2)
    with pytest.raises(DataError, match="obs has no column 'day'; it has batch"):
        datasets.sparse_counts(None, path=str(path), batches="day")

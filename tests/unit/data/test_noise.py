"""Noise belongs to (seed, name, step, row): whoever draws it, with whatever other rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vaeflow.data.noise import Noise

WIDTHS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 13])
KINDS = st.sampled_from(["normal", "uniform", "bits"])
NOISE = Noise(7, "test")


@given(width=WIDTHS, kind=KINDS, rows=st.integers(1, 40), cut=st.data(), step=st.integers(0, 2**40))
@builders.examples(30)
def test_rows_of_a_part_are_the_rows_of_the_whole(width, kind, rows, cut, step):
    draw = getattr(NOISE, kind)
    first = cut.draw(st.integers(0, rows - 1))
    count = cut.draw(st.integers(1, rows - first))
    whole = draw(step, 0, rows, width)
    assert whole.shape == (rows, width)
    assert whole.dtype == (tf.uint32 if kind == "bits" else tf.float32)
    np.testing.assert_array_equal(
        draw(tf.constant(step, tf.int64), tf.constant(first), count, width), whole[first : first + count]
    )


def test_rows_far_out_are_reached_at_their_own_cost():
    first = 2**33
    whole = NOISE.normal(3, first, 10, 5)
    np.testing.assert_array_equal(NOISE.normal(3, tf.constant(first + 4, tf.int64), 2, 5), whole[4:6])
    assert not np.array_equal(whole, NOISE.normal(3, 0, 10, 5))


def test_noise_is_the_same_in_a_graph():
    inside = tf.function(lambda step, first: NOISE.normal(step, first, 6, 3))
    np.testing.assert_array_equal(inside(tf.constant(5, tf.int64), tf.constant(2, tf.int64)), NOISE.normal(5, 2, 6, 3))


@given(width=WIDTHS, rows=st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
@builders.examples(15)
def test_uniform_of_takes_rows_in_any_order(width, rows):
    got = NOISE.uniform_of(tf.constant(rows, tf.int64), width)
    assert got.shape == (len(rows), width)
    for row, values in zip(rows, got.numpy(), strict=True):
        np.testing.assert_array_equal(values, NOISE.uniform(0, row, 1, width)[0])


@pytest.mark.parametrize("kind", ["normal", "uniform", "bits"])
def test_other_seeds_names_and_steps_are_other_streams(kind):
    draws = [
        getattr(Noise(seed, name), kind)(step, 0, 500, 3).numpy().ravel()
        for seed, name, step in itertools.product((0, 1), ("a", "b"), (0, 1, 2))
    ]
    for one, other in itertools.combinations(draws, 2):
        assert not np.intersect1d(one[:3], other[:3]).size
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.0 / np.sqrt(len(one))


def test_seed_and_name_do_not_run_together():
    assert not np.array_equal(Noise(1, "1/a").normal(0, 0, 1, 4), Noise(11, "a").normal(0, 0, 1, 4))


@pytest.mark.parametrize("width", [4, 5])
def test_no_two_steps_and_rows_share_their_noise(width):
    drawn = np.concatenate([NOISE.normal(step, 0, 300, width).numpy() for step in range(60)])
    assert len(np.unique(drawn, axis=0)) == 60 * 300


def test_uniform_lies_in_the_open_interval():
    drawn = NOISE.uniform(0, 0, 1_000_000, 4).numpy()
    assert drawn.min() >= 2.0**-24
    assert drawn.max() <= 1.0 - 2.0**-24
    assert np.all(drawn * 2.0**24 % 2.0 == 1.0)  # k / 2^23 + 2^-24 is exact: nothing was rounded to an end


@pytest.mark.parametrize("width", [2, 3, 8])
def test_uniform_is_uniform(width):
    drawn = NOISE.uniform(0, 0, 60_000 // width, width).numpy().ravel()
    assert stats.kstest(drawn, "uniform").pvalue > 0.01


@pytest.mark.parametrize("width", [2, 3, 8])
def test_normal_is_normal_and_its_columns_and_rows_independent(width):
    drawn = NOISE.normal(1, 0, 60_000 // width, width).numpy()
    count = drawn.size
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    for moment, expected, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((drawn.astype(np.float64) ** moment).mean() - expected) < 4.0 * np.sqrt(variance / count)
    correlation = np.corrcoef(drawn.T) - np.eye(width)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(drawn))
    assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) < 4.0 / np.sqrt(count)

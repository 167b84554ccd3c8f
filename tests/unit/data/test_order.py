"""Every epoch is a permutation, whatever the sizes; any slicing of a batch gives the same examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from vaeflow.data.order import Order


def batch(order: Order, step: int) -> tuple[np.ndarray, np.ndarray]:
    index, valid = order.rows(tf.constant(step, tf.int64), 0, order.batch_size)
    assert index.dtype == tf.int64
    assert valid.dtype == tf.bool
    return index.numpy(), valid.numpy()


def epoch(order: Order, number: int) -> np.ndarray:
    """Return the examples of an epoch in their order, without padding."""
    first = number * order.steps_per_epoch
    batches = [batch(order, first + s) for s in range(order.steps_per_epoch)]
    return np.concatenate([index[valid] for index, valid in batches])


@given(seed=st.integers(0, 2**40), examples=st.integers(1, 60), size=st.integers(1, 70), number=st.integers(0, 1000))
@example(seed=0, examples=1, size=1, number=0)
@example(seed=0, examples=1, size=7, number=3)
@example(seed=0, examples=2, size=1, number=1)
@example(seed=0, examples=10, size=64, number=2)
@example(seed=0, examples=60, size=20, number=2)
@builders.examples(30)
def test_every_epoch_has_each_example_once(seed, examples, size, number):
    order = Order(seed, examples, size)
    assert order.steps_per_epoch == -(-examples // size)
    np.testing.assert_array_equal(np.sort(epoch(order, number)), np.arange(examples))


@given(examples=st.integers(1, 60), size=st.integers(1, 70), step=st.integers(0, 500))
@builders.examples(20)
def test_only_the_last_batch_is_padded_and_padding_comes_last(examples, size, step):
    order = Order(3, examples, size)
    index, valid = batch(order, step)
    last = step % order.steps_per_epoch == order.steps_per_epoch - 1
    short = examples - (order.steps_per_epoch - 1) * size
    assert valid.sum() == (short if last else size)
    assert np.all(valid[: valid.sum()])
    assert index.min() >= 0
    assert index.max() < examples


@given(examples=st.integers(1, 60), size=st.integers(1, 40), step=st.integers(0, 500), cut=st.data())
@builders.examples(25)
def test_any_slice_of_a_batch_has_the_rows_of_the_whole(examples, size, step, cut):
    order = Order(5, examples, size)
    whole_index, whole_valid = batch(order, step)
    first = cut.draw(st.integers(0, size - 1))
    rows = cut.draw(st.integers(1, size - first))
    index, valid = order.rows(tf.constant(step, tf.int64), tf.constant(first), rows)
    np.testing.assert_array_equal(index, whole_index[first : first + rows])
    np.testing.assert_array_equal(valid, whole_valid[first : first + rows])


def test_rows_past_the_batch_are_padding():
    index, valid = Order(0, 100, 10).rows(tf.constant(0, tf.int64), 8, 6)
    np.testing.assert_array_equal(valid, [True, True, False, False, False, False])
    assert index.shape == (6,)


def test_order_is_the_same_in_a_graph():
    order = Order(1, 23, 5)
    inside = tf.function(lambda step, first: order.rows(step, first, 5))
    for step in (0, 4, 5, 1000):
        for got, expected in zip(inside(tf.constant(step, tf.int64), tf.constant(0)), batch(order, step), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_epochs_and_seeds_differ():
    # 256 and 65536 apart: the cipher behind it looks at the low bits of its key alone.
    orders = [epoch(Order(seed, 40, 8), number) for seed in (0, 1, 2**33) for number in (0, 1, 2, 256, 257, 65536)]
    assert len({tuple(o) for o in orders}) == len(orders)


def test_batch_size_does_not_change_the_order():
    np.testing.assert_array_equal(epoch(Order(0, 40, 8), 2), epoch(Order(0, 40, 7), 2))


def test_orders_of_real_size_are_random():
    orders = np.array([epoch(Order(0, 60_000, 60_000), number) for number in range(12)])
    np.testing.assert_array_equal(np.sort(orders[3]), np.arange(60_000))
    pairs = [(orders[0], orders[1]), (orders[0], np.arange(60_000)), (orders[0][1:], orders[0][:-1])]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.0 / np.sqrt(60_000)
    # Batches are random samples: the mean index of 100 has the variance of such a mean.
    means = orders.reshape(-1, 100).mean(1)
    assert means.var() / (60_000**2 / 12.0 / 100.0) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / len(means)))


@pytest.mark.slow
@pytest.mark.parametrize("examples", [3, 10])
def test_every_example_comes_to_every_position_equally_often(examples):
    epochs = 600
    order = Order(0, examples, examples)  # one batch an epoch
    inside = tf.function(lambda step: order.rows(step, 0, examples)[0])
    orders = np.array([inside(tf.constant(e, tf.int64)) for e in range(epochs)])
    assert len({tuple(o) for o in orders}) >= min(epochs - 3, math.factorial(examples))
    for position in range(examples):
        counts = np.bincount(orders[:, position], minlength=examples)
        assert stats.chisquare(counts).pvalue > 1e-4

"""Labels travel with the examples: the same order, the same padding; their number is that of the training split."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import tf

from vaeflow.components import binarizations
from vaeflow.contracts import Dataset, Split
from vaeflow.data.batches import Batches
from vaeflow.data.classes import classes_of
from vaeflow.errors import UsageError

X = np.arange(23, dtype=np.float32)[:, None] / 23
Y = np.arange(23) % 4


def batches(y, classes=0):
    return Batches.of("train", Split(X, y), binarizations.none(), seed=3, batch_size=10, classes=classes)


def test_labels_are_in_the_order_of_the_examples():
    made = batches(Y, classes=4)
    batch = made.shuffled(tf.constant(1, tf.int64), tf.constant(0, tf.int64), 10)
    rows = np.rint(np.asarray(batch.x)[:, 0] * 23).astype(int)
    np.testing.assert_array_equal(batch.y, Y[rows])
    np.testing.assert_array_equal(batch.labels, np.eye(4, dtype=np.float32)[Y[rows]])
    assert (batch.y.dtype, batch.labels.dtype) == (tf.int32, tf.float32)


def test_evaluations_have_labels_as_they_are_stored():
    batch = batches(Y.astype(np.uint8)).in_order(tf.constant(20, tf.int64), 5)
    np.testing.assert_array_equal(batch.y, [0, 1, 2, 0, 1])
    assert batch.labels is None
    assert batch.valid.numpy().tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("y", [None, np.zeros((23, 2), int), np.full(23, 0.5), np.full(23, 2**40)])
def test_other_labels_are_for_plots_alone(y):
    assert batches(y).in_order(tf.constant(0, tf.int64), 3).y is None


def dataset(train, test):
    return Dataset("d", Split(X, train), None, Split(X[: len(test)] if test is not None else X, test), "test")


def test_classes_are_those_of_the_training_split():
    assert classes_of(dataset(Y, Y[:2])) == 4


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (None, Y, "the train split of data set 'd' has no labels"),
        (Y, None, "the test split of data set 'd' has no labels"),
        (Y - 1, Y, "are not one whole number of at least 0 per example"),
        (Y / 2, Y, "are not one whole number of at least 0 per example"),
        (Y * 100, Y, "largest label of data set 'd' is 300 for 23 training examples"),
        (Y, Y + 1, "the test split of data set 'd' has label 4, and the training split has labels up to 3"),
    ],
)
def test_labels_that_are_no_classes_are_one_line(train, test, message):
    with pytest.raises(UsageError, match=message):
        classes_of(dataset(train, test))

"""Sums of several tensors do not depend on which of them TensorFlow could have written into."""

from __future__ import annotations

import hashlib

import pytest
import tensorflow as tf
from tensorflow.python.ops import gen_math_ops

from vaeflow.runtime.ordered_sums import add_in_order

LARGE = 1e8  # float32 numbers there are 8 apart


@pytest.fixture(autouse=True)
def in_order():
    add_in_order()


@tf.function
def by_kernel(a, b, c):
    """The sum by TensorFlow's kernel, which may write into the last summand alone: the others are arguments."""
    return tf.raw_ops.AddN(inputs=[a, b, -c])


def summands():
    return tf.constant([LARGE]), tf.constant([-LARGE]), tf.constant([-1.0])


def test_the_kernel_begins_with_what_it_may_write_into():
    assert by_kernel(*summands()).numpy() == [0.0]  # (1 - 1e8) + 1e8


def test_add_n_is_in_order():
    in_order = tf.function(lambda a, b, c: tf.add_n([a, b, -c]))
    assert in_order(*summands()).numpy() == [1.0]


@pytest.mark.parametrize("nested", [False, True])
def test_gradients_are_added_in_pairs(nested):
    def cube(x):
        return x * x * x + tf.sin(x) + tf.exp(x)

    inner = tf.function(cube) if nested else cube

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = inner(x)
        return tape.gradient(y, x)

    x = tf.constant([0.5, 2.0])
    assert gradient(x).numpy() == pytest.approx((3 * x * x + tf.cos(x) + tf.exp(x)).numpy(), rel=1e-6)
    graph = gradient.get_concrete_function(x).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    counts = [node.attr["N"].i for node in nodes if node.op == "AddN"]
    assert len(counts) >= 2
    assert set(counts) == {2}


def test_asking_twice_changes_nothing():
    once = gen_math_ops.add_n
    add_in_order()
    assert gen_math_ops.add_n is once


def test_wrong_shapes_are_errors_still():
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.add_n([tf.zeros((2,)), tf.zeros((2,)), tf.zeros((1,))])


@pytest.mark.slow
def test_repeated_steps_have_the_same_bits():
    from helpers import good_plugins

    from vaeflow.plugin_kit.checks.subject import Subject
    from vaeflow.plugins.registry import Registry

    experiment = Subject(Registry.load([good_plugins.__file__]), "prior", "normal-by-products").experiment()
    initial, found = experiment.state.arrays(), set()
    for _ in range(60):
        experiment.state.assign(initial)
        experiment.trainer.execute(0, 5)
        found.add(hashlib.sha256(b"".join(a.tobytes() for a in experiment.state.arrays().values())).hexdigest())
    assert len(found) == 1

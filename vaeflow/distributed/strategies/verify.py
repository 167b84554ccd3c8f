"""Self-test of the all-reduce, and checks that replicas agree: a broken collective would not raise an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.distributed.strategies.gather import gather
from vaeflow.distributed.strategies.graphs import graph
from vaeflow.errors import DivergedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.distributed.strategies.base import Strategy

SIZES = (1, 7, 4096)
UNIT = 2**34  # integers beyond 32 bits must survive
MODULUS = 61  # floats are small enough for exact sums over thousands of replicas
GOLDEN = -7046029254386353131  # the golden ratio as an odd 64-bit integer: neighbours get very different factors
INTEGERS = {1: tf.int8, 2: tf.int16, 4: tf.int32, 8: tf.int64}


def self_test_reductions(strategy: Strategy, wire: str = "float32") -> None:
    """Self-test the all-reduce with tensors whose sums and maxima are known.

    Args:
        strategy: how replicas are run.
        wire: the type of gradients that are sent between replicas.

    Raises:
        DivergedError: on a process where a result is wrong.
    """
    replicas = strategy.replicas

    def in_step() -> tuple[list[tf.Tensor], tf.Tensor]:
        number = tf.cast(strategy.replica(), tf.int64) + 1
        integers = [number * tf.range(1, size + 1, dtype=tf.int64) * UNIT for size in SIZES]
        floats = [tf.cast(number, tf.float32) * tf.cast(tf.range(1, size + 1) % MODULUS, tf.float32) for size in SIZES]
        halves = [tf.cast(tf.range(1, size + 1, dtype=tf.int64) % replicas + 1 == number, wire) for size in SIZES]
        sums = [total for tensors in (integers, floats, halves) for total in strategy.all_reduce_sum(tensors)]
        return sums, strategy.all_reduce_max(tf.stack([tf.cast(number, tf.float32), -tf.cast(number, tf.float32)]))

    sums, peaks = graph(lambda: _locals(strategy, strategy.run(in_step)))()
    total = replicas * (replicas + 1) // 2
    expected: list[np.ndarray] = [total * np.arange(1, size + 1) * UNIT for size in SIZES]
    expected += [total * (np.arange(1, size + 1) % MODULUS) for size in SIZES]
    expected += [np.ones(size) for size in SIZES]  # any type can represent their sums over any number of replicas
    for found, wanted in zip(sums, expected, strict=True):
        _compare(strategy, "sum", found.numpy(), wanted)
    _compare(strategy, "maximum", peaks.numpy(), np.array([replicas, -1]))


class Agreement:
    """Checks that all replicas have the same bits of all variables.

    Args:
        strategy: how replicas are run.
        variables: the variables to compare, by name.
    """

    def __init__(self, strategy: Strategy, variables: Mapping[str, tf.Variable]) -> None:
        self._strategy, self._variables = strategy, dict(variables)
        self._compiled = graph(self._table)

    def check(self) -> str:
        """Return the fingerprint that all replicas share, 16 hexadecimal digits.

        Raises:
            DivergedError: on every process, naming the replicas that differ from the first and a variable.
        """
        table = self._compiled().numpy()  # [replicas, variables]
        replicas, variables = np.nonzero(table != table[0])
        if len(replicas):
            which = ", ".join(map(str, sorted(set(replicas.tolist()))))
            name, others = list(self._variables)[variables[0]], len(set(variables.tolist())) - 1
            raise DivergedError(
                f"replicas {which} of {len(table)} have another state than replica 0: {name!r} and {others} more "
                "variables differ. A device or a collective is broken; earlier checkpoints are valid"
            )
        return f"{int(np.bitwise_xor.reduce(table[0] * (2 * np.arange(table.shape[1]) + 1)).view(np.uint64)):016x}"

    def _table(self) -> tf.Tensor:
        return self._strategy.local(self._strategy.run(self._in_step))

    def _in_step(self) -> tf.Tensor:
        own = tf.stack([_fingerprint(tf.convert_to_tensor(v)) for v in self._variables.values()])
        return gather(self._strategy, [own])[0]


def _fingerprint(value: tf.Tensor) -> tf.Tensor:
    """Return an int64 that changes if any single element changes: a sum of bit patterns times odd factors."""
    bits = tf.cast(tf.reshape(tf.bitcast(value, INTEGERS[value.dtype.size]), (-1,)), tf.int64)
    factors = (2 * tf.range(tf.size(bits, tf.int64), dtype=tf.int64) + 1) * GOLDEN
    return tf.reduce_sum((bits + 1) * tf.bitwise.bitwise_or(factors, 1))


def _locals(strategy: Strategy, result: tuple[list[tf.Tensor], tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
    sums, peaks = result
    return [strategy.local(s) for s in sums], strategy.local(peaks)


def _compare(strategy: Strategy, what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    wrong = np.flatnonzero(found != wanted)
    if len(wrong):
        raise DivergedError(
            f"rank {strategy.rank}: the {what} of the all-reduce self-test over {strategy.replicas} replicas of "
            f"strategy {strategy.name!r} is {float(found[wrong[0]]):g}, not {float(wanted[wrong[0]]):g}, in "
            f"{found.dtype}: its collectives do not reduce"
        )

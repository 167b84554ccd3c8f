"""Rows of numbers, one per example, computed by all replicas and returned in their order.

Replicas share the blocks of rows, and each row is collected unchanged: neither the number of replicas nor that of
blocks per call changes a bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.distributed.strategies.gather import gather
from vaeflow.distributed.strategies.graphs import graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from vaeflow.distributed.strategies.base import Strategy


class Table:
    """Computes a table block by block; every process of a job makes the same calls.

    Args:
        strategy: runs the replicas.
        block: takes the number of a block, int64, and returns its rows, [rows, width] float32.
        count: of the rows of the whole table.
        rows: of a block.
        width: of a row.
        at_a_time: blocks per call, of all replicas.
    """

    def __init__(
        self,
        strategy: Strategy,
        block: Callable[[tf.Tensor], tf.Tensor],
        *,
        count: int,
        rows: int,
        width: int,
        at_a_time: int = 1,
    ) -> None:
        self._strategy, self._block = strategy, block
        self._count, self._rows, self._width = count, rows, width
        self._at_a_time = max(strategy.replicas, at_a_time)
        # a function of its own: TensorFlow would count the traces of all tables as one function's, and warn
        self._compiled = graph(lambda first, share: self._chunk(first, share))  # noqa: PLW0108

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield consecutive rows, [some, width], `count` in all."""
        blocks, left = -(-self._count // self._rows), self._count
        for first in range(0, blocks, self._at_a_time):
            share = -(-min(self._at_a_time, blocks - first) // self._strategy.replicas)
            chunk = self._compiled(tf.constant(first, tf.int64), share).numpy().reshape((-1, self._width))
            rows = chunk[: min(left, self._at_a_time * self._rows)]
            left -= len(rows)
            yield rows

    def _chunk(self, first: tf.Tensor, share: int) -> tf.Tensor:
        """Return the rows of `share` blocks per replica, [replicas, share, rows, width]."""
        return self._strategy.local(self._strategy.run(self._own_share, first, share))

    def _own_share(self, first: tf.Tensor, share: int) -> tf.Tensor:
        numbers = first + tf.cast(self._strategy.replica(), tf.int64) * share + tf.range(share, dtype=tf.int64)
        signature = tf.TensorSpec((self._rows, self._width), tf.float32)
        return gather(self._strategy, [tf.map_fn(self._block, numbers, fn_output_signature=signature)])[0]

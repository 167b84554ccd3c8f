"""Random numbers per example, the same on every replica that computes them.

Philox is a counter-based generator (Salmon et al. 2011): element i of TensorFlow's stream is at counter i // 4. The
rows of a step's noise are consecutive. A replica with rows [a, b) starts at the counter of row a and gets the same bits
as one device would, at the cost of its own rows only.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

PHILOX = 1
LANES = 4  # 32-bit numbers that one counter gives


@dataclass(frozen=True)
class Noise:
    """A stream of random rows, a function of (seed, name, step, row).

    Attributes:
        seed: the run's seed.
        name: purpose of the stream; streams of different names are independent.
    """

    seed: int
    name: str

    def normal(self, step: tf.Tensor, first: tf.Tensor, rows: int, width: int) -> tf.Tensor:
        """Return standard normal rows [first, first + rows) of a step, [rows, width] float32."""
        return self._rows(tf.raw_ops.StatelessRandomNormalV2, step, first, rows, width)

    def samples(self, step: tf.Tensor, first: tf.Tensor, rows: int, *, samples: int, width: int) -> tf.Tensor:
        """Return standard normal noise for L samples of examples [first, first + rows), [L, rows, width] float32."""
        drawn = self.normal(step, first * samples, rows * samples, width)
        return tf.transpose(tf.reshape(drawn, (rows, samples, width)), (1, 0, 2))

    def uniform(self, step: tf.Tensor, first: tf.Tensor, rows: int, width: int) -> tf.Tensor:
        """Return rows of numbers in the open interval (0, 1), [rows, width] float32."""
        half_a_step = 2.0**-24  # TensorFlow draws k / 2^23 with k from 0
        return self._rows(tf.raw_ops.StatelessRandomUniformV2, step, first, rows, width) + half_a_step

    def uniform_of(self, rows: tf.Tensor, width: int) -> tf.Tensor:
        """Return rows in any order, as `uniform` would at step 0, [len(rows), width] float32."""
        spec = tf.TensorSpec((width,), tf.float32)
        return tf.map_fn(lambda row: self.uniform(0, row, 1, width)[0], rows, fn_output_signature=spec)

    def bits(self, step: tf.Tensor, first: tf.Tensor, rows: int, width: int) -> tf.Tensor:
        """Return rows of random bits, [rows, width] uint32, to key other generators with."""
        draw = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, dtype=tf.uint32)
        return self._rows(draw, step, first, rows, width)

    def _rows(
        self, draw: Callable[..., tf.Tensor], step: tf.Tensor, first: tf.Tensor, rows: int, width: int
    ) -> tf.Tensor:
        counters = math.ceil(width / LANES)
        low = tf.cast(first, tf.int64) * counters
        counter = tf.bitcast(tf.stack([low, tf.cast(step, tf.int64)]), tf.uint64)
        drawn = draw(shape=(rows, counters * LANES), key=self._key(), counter=counter, alg=PHILOX)
        return drawn[:, :width]

    def _key(self) -> tf.Tensor:
        digest = hashlib.blake2b(f"{self.seed}/{self.name}".encode(), digest_size=8).digest()
        return tf.constant([int.from_bytes(digest, "little")], tf.uint64)

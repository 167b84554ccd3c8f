"""Sums over the microbatches of all replicas.

Floating-point addition depends on its order and grouping, integer addition does not. The exact sum rounds float32 to
integers at power-of-two scales. The largest magnitude in a block of elements sets its scale, and a maximum does not
depend on order either. An ordinary all-reduce adds the integers, and the sum is rounded once to float32. So any number
of replicas gives the same bits. Numbers with a shared scale are called block floating point.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.microbatch_sums import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.distributed.strategies.base import Strategy

BLOCK = 64  # elements of a gradient that share a scale
NARROW = 64  # with so many parts, each has 24 bits of half an int64, as many as float32
SUM_BITS = 62  # of an int64; a sum stays below 2^62
HALF_BITS = 30  # of half an int64
FLOAT32_BIAS = 126  # a float32 with exponent field E is below 2^(E - 126)
FLOAT32_FRACTION = 23  # bits below the exponent field
MAGNITUDE, INFINITY = 0x7FFFFFFF, 0x7F800000  # all bits but the sign; infinity's bits


class Reduction(Protocol):
    """Sums the results of microbatches."""

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return the sum over the first axis of each tensor, [v, ...] float32, and over all replicas.

        An element that is not finite in any part becomes NaN or infinite on every replica.
        """


class PlainSum:
    """Float32 sums in any order: fastest, and equal between topologies up to rounding.

    Args:
        wire: the type of gradients that are sent between replicas; 16 bits halve the bytes and lose precision.
        batch_size: the global batch; it sets a scale with which gradients do not overflow in float16.
    """

    def __init__(self, wire: str = "float32", batch_size: int = 1) -> None:
        self._wire = tf.as_dtype(wire)
        self._scale = 1.0 if wire == "float32" else 2.0 ** -(batch_size - 1).bit_length()

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return float32 sums, see `Reduction`."""
        own: Part = tf.nest.map_structure(lambda part: tf.reduce_sum(part, axis=0), parts)
        if self._wire == tf.float32 or strategy.replicas == 1:
            return tf.nest.pack_sequence_as(own, strategy.all_reduce_sum(tf.nest.flatten(own)))
        # Counts and nats are not compressed: they are few, and too large for 16 bits.
        rest = strategy.all_reduce_sum([*own.state, own.sums])
        wired = strategy.all_reduce_sum([tf.cast(g * self._scale, self._wire) for g in own.gradients])
        gradients = [tf.cast(g, tf.float32) / self._scale for g in wired]
        return Part(gradients, rest[:-1], rest[-1])


class ExactSum:
    """Sums that do not depend on order or grouping.

    A part of a gradient is rounded to 2^-(30 - ceil(log2 V)) of the largest magnitude in its block of 64 elements, or
    finer, so that two sums share an int64: TensorFlow keeps int32 in host memory on any device. State and sums
    have 62 bits and a scale for each element, and with more than 64 microbatches gradients have 62 bits, too.

    Args:
        microbatches: V, the number of parts.
    """

    def __init__(self, microbatches: int) -> None:
        headroom = (microbatches - 1).bit_length()
        paired = microbatches <= NARROW
        # Bits per part, and whether two sums share an integer: for gradients, and for state and sums.
        self._codes = [((HALF_BITS if paired else SUM_BITS) - headroom, paired), (SUM_BITS - headroom, False)]

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return exact sums rounded once to float32, see `Reduction`. A block that is not finite becomes NaN."""
        rest = [*parts.state, parts.sums]
        blocks = [_in_blocks(parts.gradients, BLOCK), _in_blocks(rest, 1)]
        everywhere = strategy.all_reduce_max(tf.concat([_peaks(b) for b in blocks], axis=0))
        peaks = tf.split(everywhere, [b.shape[1] for b in blocks])
        encoded = [_encode(b, peak, *code) for b, peak, code in zip(blocks, peaks, self._codes, strict=True)]
        totals = strategy.all_reduce_sum(encoded)
        gradients, others = (_decode(t, p, *code) for t, p, code in zip(totals, peaks, self._codes, strict=True))
        state_and_sums = _out_of_blocks(others, rest)
        return Part(_out_of_blocks(gradients, parts.gradients), state_and_sums[:-1], state_and_sums[-1])


@partial(graph, jit_compile=True)  # one pass over memory instead of eight
def _encode(blocks: tf.Tensor, peaks: tf.Tensor, bits: int, paired: bool) -> tf.Tensor:
    """Return this replica's sums [B, L], int64, of parts [v, B, L] times 2^k; or [B, L / 2] with two in one."""
    integers = tf.cast(tf.round(blocks * _two_to(_powers(peaks, bits))), tf.int64)
    sums = tf.reduce_sum(integers, axis=0)
    return _pair(sums) if paired else sums


@partial(graph, jit_compile=True)
def _decode(totals: tf.Tensor, peaks: tf.Tensor, bits: int, paired: bool) -> tf.Tensor:
    """Return sums [B, L], float32, from what was encoded."""
    unit = tf.where(tf.math.is_finite(peaks)[:, None], _two_to(-_powers(peaks, bits)), float("nan"))
    return tf.cast(_part(totals) if paired else totals, tf.float32) * unit


def _powers(peaks: tf.Tensor, bits: int) -> tf.Tensor:
    """Return the largest k <= 126 with peak * 2^k < 2^bits, int32: from the peaks' bits, because a logarithm rounds.

    2^-126 is the least float32 that is not subnormal.
    """
    exponents = tf.bitwise.right_shift(tf.bitcast(peaks, tf.int32), FLOAT32_FRACTION) - FLOAT32_BIAS
    return tf.minimum(bits - exponents, FLOAT32_BIAS)


def _pair(integers: tf.Tensor) -> tf.Tensor:
    """Return [B, L / 2]: two integers of 32 bits in one of 64. Sums of pairs are pairs of sums."""
    high, low = tf.split(integers, 2, axis=1)
    return high * 2**32 + low


def _part(pairs: tf.Tensor) -> tf.Tensor:
    """Return [B, L], int32, the paired integers. A negative lower one has borrowed from the other."""
    high = tf.bitwise.right_shift(pairs + 2**31, tf.constant(32, tf.int64))
    return tf.cast(tf.concat([high, pairs], axis=1), tf.int32)


def _in_blocks(parts: Sequence[tf.Tensor], length: int) -> tf.Tensor:
    """Return all elements of some tensors [v, ...], as [v, B, length]; zeros fill each tensor's last block."""
    rows = [tf.reshape(part, (part.shape[0], -1)) for part in parts]
    filled = [tf.pad(row, [[0, 0], [0, -row.shape[1] % length]]) if row.shape[1] % length else row for row in rows]
    return tf.reshape(tf.concat(filled, axis=1), (parts[0].shape[0], -1, length))


def _out_of_blocks(totals: tf.Tensor, parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return totals [B, length] as tensors of the shapes that parts [v, ...] have."""
    sizes = [part.shape[1:].num_elements() for part in parts]
    filled = [size + -size % totals.shape[1] for size in sizes]
    pieces = zip(tf.split(tf.reshape(totals, (-1,)), filled), sizes, parts, strict=True)
    return [tf.reshape(piece[:size], part.shape[1:]) for piece, size, part in pieces]


def _peaks(blocks: tf.Tensor) -> tf.Tensor:
    """Return the largest magnitude in each block, or infinity. Floats have the order of their bits, with NaN last."""
    bits = tf.reduce_max(tf.bitwise.bitwise_and(tf.bitcast(blocks, tf.int32), MAGNITUDE), axis=[0, 2])
    return tf.bitcast(tf.minimum(bits, INFINITY), tf.float32)


def _two_to(powers: tf.Tensor) -> tf.Tensor:
    """Return 2^k for powers [B], as [B, 1] float32 made from bits."""
    return tf.bitcast(tf.bitwise.left_shift(powers + 127, FLOAT32_FRACTION), tf.float32)[:, None]

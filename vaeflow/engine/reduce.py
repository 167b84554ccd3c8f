"""Sums over the microbatches of all replicas.

Floating-point addition depends on its order and grouping, integer addition does not. The exact sum rounds float32 to
integers at power-of-two scales. The largest magnitude in a block of elements sets its scale, and a maximum does not
depend on order either. An ordinary all-reduce adds the integers, and the sum is rounded once to float32. So any number
of replicas gives the same bits. Numbers with a shared scale are called block floating point.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.microbatch_sums import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.distributed.strategies.base import Strategy

UNROLLED = 16  # so many parts are added one by one
LANES = 16  # float32 numbers in the widest vector registers
BLOCK = 64  # elements of a gradient that share a scale
NARROW = 64  # with so many parts, each has 24 bits of half an int64, as many as float32
SUM_BITS = 62  # of an int64; a sum stays below 2^62
HALF_BITS = 30  # of half an int64
FLOAT32_BIAS = 126  # a float32 with exponent field E is below 2^(E - 126)
FLOAT32_FRACTION = 23  # bits below the exponent field
MAGNITUDE, INFINITY = 0x7FFFFFFF, 0x7F800000  # all bits but the sign; infinity's bits


class Reduction(Protocol):
    """Sums the results of microbatches."""

    def pack(self, part: Part) -> Part:
        """Return one microbatch's part in the form in which many are stacked for `sum`."""

    def packed(self, signature: Part) -> Part:
        """Return the types and shapes of `pack`'s result, given those of a part."""

    def unpack(self, total: Part, signature: Part) -> Part:
        """Return a sum of packed parts as a part of this signature."""

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

    def pack(self, part: Part) -> Part:
        """Return the part: each gradient is summed on its own."""
        return part

    def packed(self, signature: Part) -> Part:
        """Return the signature."""
        return signature

    def unpack(self, total: Part, signature: Part) -> Part:
        """Return the sum."""
        del signature
        return total

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return float32 sums, see `Reduction`."""
        own: Part = tf.nest.map_structure(
            lambda part: tf.reduce_sum(part, axis=0) if part.shape[0] != 1 else part[0], parts
        )
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

    def pack(self, part: Part) -> Part:
        """Return the part with all gradients in one tensor of blocks, which is stacked by one copy."""
        packed: Part = tf.nest.map_structure(lambda one: one[None], part)
        return part._replace(gradients=[_in_blocks(packed.gradients, BLOCK)[0]])

    def packed(self, signature: Part) -> Part:
        """Return the signature with one tensor for all gradients."""
        blocks = sum(-(-one.shape.num_elements() // BLOCK) for one in signature.gradients)
        return signature._replace(gradients=[tf.TensorSpec((blocks, BLOCK), tf.float32)])

    def unpack(self, total: Part, signature: Part) -> Part:
        """Return the sum with its blocks as gradients."""
        shapes = [one.shape for one in signature.gradients]
        return total._replace(gradients=_out_of_blocks(total.gradients[0], shapes))

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return exact sums rounded once to float32, see `Reduction`. A block that is not finite becomes NaN."""
        rest = [*parts.state, parts.sums]
        gradients, others = self._sums([_in_blocks(parts.gradients, BLOCK), _in_blocks(rest, 1)], strategy)
        state_and_sums = _out_of_blocks(others, [one.shape[1:] for one in rest])
        shapes = [one.shape[1:] for one in parts.gradients]
        return Part(_out_of_blocks(gradients, shapes), state_and_sums[:-1], state_and_sums[-1])

    def _sums(self, blocks: list[tf.Tensor], strategy: Strategy) -> list[tf.Tensor]:
        """Return the sums of blocks [v, B, L] over parts and replicas, [B, L] float32."""
        if strategy.replicas == 1:
            return list(_summed_alone(blocks, self._codes))
        everywhere = strategy.all_reduce_max(tf.concat(_peaks(blocks), axis=0))
        peaks = tf.split(everywhere, [b.shape[1] for b in blocks])
        totals = strategy.all_reduce_sum(_encoded(blocks, peaks, self._codes))
        return list(_decoded(totals, peaks, self._codes))


# XLA passes over memory once where TensorFlow's operations do eight times.
@partial(graph, jit_compile=True)
def _peaks(blocks: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the largest magnitude in each block, or infinity, [B] for each [v, B, L]."""
    return [_peak(one) for one in blocks]


@partial(graph, jit_compile=True)
def _encoded(blocks: list[tf.Tensor], peaks: list[tf.Tensor], codes: list[tuple[int, bool]]) -> list[tf.Tensor]:
    """Return this replica's integers for blocks, see `_encode`."""
    return [_encode(one, peak, *code) for one, peak, code in zip(blocks, peaks, codes, strict=True)]


@partial(graph, jit_compile=True)
def _decoded(totals: list[tf.Tensor], peaks: list[tf.Tensor], codes: list[tuple[int, bool]]) -> list[tf.Tensor]:
    """Return the sums that integers stand for, see `_decode`."""
    return [_decode(one, peak, *code) for one, peak, code in zip(totals, peaks, codes, strict=True)]


@partial(graph, jit_compile=True)
def _summed_alone(blocks: list[tf.Tensor], codes: list[tuple[int, bool]]) -> list[tf.Tensor]:
    """Return what a single replica sums: integers are not written to memory."""
    peaks = [_peak(one) for one in blocks]
    sums = (_integers(one, peak, *code) for one, peak, code in zip(blocks, peaks, codes, strict=True))
    return [_times_unit(one, peak, bits) for one, peak, (bits, _) in zip(sums, peaks, codes, strict=True)]


def _encode(blocks: tf.Tensor, peaks: tf.Tensor, bits: int, paired: bool) -> tf.Tensor:
    """Return this replica's sums [B, L], int64, of parts [v, B, L] times 2^k; or [B, L / 2] with two in one."""
    sums = tf.cast(_integers(blocks, peaks, bits, paired), tf.int64)
    return _pair(sums) if paired else sums


def _decode(totals: tf.Tensor, peaks: tf.Tensor, bits: int, paired: bool) -> tf.Tensor:
    """Return sums [B, L], float32, from what was encoded."""
    return _times_unit(_part(totals) if paired else totals, peaks, bits)


def _integers(blocks: tf.Tensor, peaks: tf.Tensor, bits: int, paired: bool) -> tf.Tensor:
    """Return the sums of parts [v, B, L] times 2^k, [B, L]; int32 is enough for half an int64."""
    scale = _two_to(_powers(peaks, bits))
    whole = tf.int32 if paired else tf.int64
    return _folded(tf.add, [tf.cast(tf.round(part * scale), whole) for part in _chunks(blocks)], tf.reduce_sum)


def _times_unit(integers: tf.Tensor, peaks: tf.Tensor, bits: int) -> tf.Tensor:
    unit = tf.where(tf.math.is_finite(peaks)[:, None], _two_to(-_powers(peaks, bits)), float("nan"))
    return tf.cast(integers, tf.float32) * unit


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


def _out_of_blocks(totals: tf.Tensor, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
    """Return totals [B, length] as tensors of some shapes."""
    sizes = [shape.num_elements() for shape in shapes]
    filled = [size + -size % totals.shape[1] for size in sizes]
    pieces = zip(tf.split(tf.reshape(totals, (-1,)), filled), sizes, shapes, strict=True)
    return [tf.reshape(piece[:size], shape) for piece, size, shape in pieces]


def _peak(blocks: tf.Tensor) -> tf.Tensor:
    """Return the largest magnitude in each block, or infinity. Floats have the order of their bits, with NaN last."""
    bits = [tf.bitwise.bitwise_and(tf.bitcast(part, tf.int32), MAGNITUDE) for part in _chunks(blocks)]
    largest = _folded(tf.maximum, bits, tf.reduce_max)
    while largest.shape[1] > LANES and largest.shape[1] % 2 == 0:
        largest = tf.maximum(*tf.split(largest, 2, axis=1))
    return tf.bitcast(tf.minimum(tf.reduce_max(largest, axis=1), INFINITY), tf.float32)


def _chunks(blocks: tf.Tensor) -> list[tf.Tensor]:
    """Return parts [v, B, L] one by one, which XLA then adds in vector registers; or in one piece if they are many."""
    return tf.unstack(blocks) if blocks.shape[0] <= UNROLLED else [blocks]


def _folded(
    join: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], chunks: list[tf.Tensor], over: Callable[..., tf.Tensor]
) -> tf.Tensor:
    """Return the sum or the maximum over all parts in some chunks, [B, L]."""
    return over(chunks[0], axis=0) if chunks[0].shape.rank > 2 else reduce(join, chunks)


def _two_to(powers: tf.Tensor) -> tf.Tensor:
    """Return 2^k for powers [B], as [B, 1] float32 made from bits."""
    return tf.bitcast(tf.bitwise.left_shift(powers + 127, FLOAT32_FRACTION), tf.float32)[:, None]

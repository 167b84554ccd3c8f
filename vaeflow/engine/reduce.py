"""Sums over the microbatches of all replicas.

Floating-point addition depends on its order and grouping, integer addition does not. The exact sum rounds float32 to
int64 at a power-of-two scale fixed by the largest magnitude anywhere (a maximum has no order either), lets an ordinary
all-reduce add the integers, and rounds once to float32: the same bits for any number of replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from vaeflow.engine.part import Part

if TYPE_CHECKING:
    from vaeflow.engine.strategies.base import Strategy

SUM_BITS = 62  # an int64 sum stays below 2^62
FLOAT32_BIAS = 126  # a float32 with exponent field E is below 2^(E - 126)
FLOAT32_FRACTION = 23  # bits below the exponent field
MAGNITUDE, INFINITY = 0x7FFFFFFF, 0x7F800000  # all bits but the sign; infinity's bits


class Reduction(Protocol):
    """A way to add what microbatches give."""

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return the sum over the first axis of each tensor, [v, ...] float32, and over all replicas.

        A tensor with an infinity or a NaN anywhere comes back as NaN or infinite on every replica.
        """


class PlainSum:
    """Float32 sums in whatever order: fastest, equal between topologies to rounding.

    Args:
        wire: the type that gradients have between replicas; half of them costs precision and saves half the bytes.
        batch_size: the global batch; halves would overflow if gradients were not scaled by it.
    """

    def __init__(self, wire: str = "float32", batch_size: int = 1) -> None:
        self._wire = tf.as_dtype(wire)
        self._scale = 1.0 if wire == "float32" else 2.0 ** -(batch_size - 1).bit_length()

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return float32 sums, see `Reduction`."""
        own: Part = tf.nest.map_structure(lambda part: tf.reduce_sum(part, axis=0), parts)
        if self._wire == tf.float32 or strategy.replicas == 1:
            return tf.nest.pack_sequence_as(own, strategy.all_reduce_sum(tf.nest.flatten(own)))
        # Counts and nats are not compressed: they are few, and larger than halves can count.
        rest = strategy.all_reduce_sum([*own.state, own.sums])
        wired = strategy.all_reduce_sum([tf.cast(g * self._scale, self._wire) for g in own.gradients])
        gradients = [tf.cast(g, tf.float32) / self._scale for g in wired]
        return Part(gradients, rest[:-1], rest[-1])


class ExactSum:
    """Sums that do not depend on order or grouping.

    Args:
        microbatches: V, how many parts are added in all.
    """

    def __init__(self, microbatches: int) -> None:
        self._headroom = (microbatches - 1).bit_length()  # V parts need so many bits more than one

    def sum(self, parts: Part, strategy: Strategy) -> Part:
        """Return exact sums rounded once to float32, see `Reduction`. What is not finite comes back as NaN."""
        flat = tf.nest.flatten(parts)
        peaks = strategy.all_reduce_max(tf.stack([_peak(part) for part in flat]))
        powers = self._powers(peaks)
        first, rest = _two_to(powers // 2, tf.float32), _two_to(powers - powers // 2, tf.float32)
        sums = strategy.all_reduce_sum([_to_integers(part * first[i] * rest[i]) for i, part in enumerate(flat)])
        units = tf.where(tf.math.is_finite(peaks), _two_to(-powers, tf.float64), float("nan"))
        totals = [tf.cast(tf.cast(total, tf.float64) * units[i], tf.float32) for i, total in enumerate(sums)]
        return tf.nest.pack_sequence_as(parts, totals)

    def _powers(self, peaks: tf.Tensor) -> tf.Tensor:
        """Return the largest k with V * peak * 2^k < 2^62, int32, from the peaks' own bits: no logarithm rounds."""
        exponents = tf.bitwise.right_shift(tf.bitcast(peaks, tf.int32), FLOAT32_FRACTION) - FLOAT32_BIAS
        return SUM_BITS - self._headroom - exponents


def _peak(part: tf.Tensor) -> tf.Tensor:
    """Return the largest magnitude, or infinity. Floats are ordered as their bits are, NaN above infinity."""
    bits = tf.reduce_max(tf.bitwise.bitwise_and(tf.bitcast(part, tf.int32), MAGNITUDE))
    return tf.bitcast(tf.minimum(bits, INFINITY), tf.float32)


def _two_to(powers: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return 2^k, put together from its bits."""
    bias, fraction, bits = (127, FLOAT32_FRACTION, tf.int32) if dtype == tf.float32 else (1023, 52, tf.int64)
    return tf.bitcast(tf.bitwise.left_shift(tf.cast(powers + bias, bits), tf.constant(fraction, bits)), dtype)


def _to_integers(scaled: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.round(scaled), tf.int64), axis=0)

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
FLOAT64_BIAS = 1023


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
        finite = tf.math.is_finite(peaks)
        scales = self._scales(tf.where(finite, peaks, 1.0))
        integers = [tf.reduce_sum(_to_integers(part, scales[i], finite[i]), axis=0) for i, part in enumerate(flat)]
        sums = strategy.all_reduce_sum(integers)
        totals = [
            tf.where(finite[i], tf.cast(tf.cast(total, tf.float64) / scales[i], tf.float32), float("nan"))
            for i, total in enumerate(sums)
        ]
        return tf.nest.pack_sequence_as(parts, totals)

    def _scales(self, peaks: tf.Tensor) -> tf.Tensor:
        """Return 2^k with V * peak * 2^k < 2^62, float64, from the peaks' own bits: no logarithm rounds."""
        exponent = tf.bitwise.right_shift(tf.bitcast(peaks, tf.int32), 23) - FLOAT32_BIAS
        power = tf.cast(SUM_BITS - self._headroom - exponent + FLOAT64_BIAS, tf.int64)
        return tf.bitcast(tf.bitwise.left_shift(power, tf.constant(52, tf.int64)), tf.float64)


def _peak(part: tf.Tensor) -> tf.Tensor:
    magnitude = tf.reduce_max(tf.abs(part))
    return tf.where(tf.reduce_all(tf.math.is_finite(part)), magnitude, float("inf"))


def _to_integers(part: tf.Tensor, scale: tf.Tensor, finite: tf.Tensor) -> tf.Tensor:
    part = tf.where(finite, part, tf.zeros_like(part))
    return tf.cast(tf.round(tf.cast(part, tf.float64) * scale), tf.int64)

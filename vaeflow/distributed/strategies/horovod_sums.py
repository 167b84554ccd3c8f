"""Sums over Horovod's processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence


def sums(hvd: Any, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return the sum of each tensor over the processes, in one fused message; all of one type.

    Args:
        hvd: the module `horovod.tensorflow`.
        tensors: of any type that Horovod adds, or bfloat16.
    """
    if tensors[0].dtype != tf.bfloat16:
        return list(hvd.grouped_allreduce(list(tensors), op=hvd.Sum))
    sizes = [tensor.shape.num_elements() for tensor in tensors]
    total = _sum_of_bfloat16(hvd, tf.concat([tf.reshape(tensor, (-1,)) for tensor in tensors], axis=0))
    pieces = tf.split(total[: sum(sizes)], sizes)
    return [tf.reshape(piece, tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


def _sum_of_bfloat16(hvd: Any, vector: tf.Tensor) -> tf.Tensor:
    """Return the sum of a vector, padded with zeros.

    Horovod can't add bfloat16, but it can send 16 bits: each process receives its slice of all vectors, adds them in
    float32, rounds once, and sends the sum to all. A ring all-reduce sends as many bytes.
    """
    processes = hvd.size()
    filled = tf.pad(vector, [[0, -vector.shape[0] % processes]])
    slices = hvd.alltoall(tf.bitcast(filled, tf.uint16))
    own = tf.reshape(tf.bitcast(slices, tf.bfloat16), (processes, -1))
    added = tf.cast(tf.reduce_sum(tf.cast(own, tf.float32), axis=0), tf.bfloat16)
    return tf.bitcast(hvd.allgather(tf.bitcast(added, tf.uint16)), tf.bfloat16)

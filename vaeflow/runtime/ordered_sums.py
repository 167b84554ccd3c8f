"""Sums of many tensors in the order in which they are written.

The gradient of a tensor with several uses is the sum of what each of them gives, by TensorFlow's AddN. It adds into a
buffer that nothing else holds any more, and begins with that one: which it is depends on what threads have finished
(`AddNOp::Compute` in tensorflow/core/kernels/aggregate_ops.cc). With three tensors or more, the last bits do too, even
on one device. Sums of two do not: a + b is b + a.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf


def add_in_order() -> None:
    """Have TensorFlow add tensors two at a time, first to last: in gradients, and by `tf.add_n`.

    TensorFlow has no option for the first. Doing it twice is doing it once.
    """
    import tensorflow as tf
    from tensorflow.python.ops import gen_math_ops

    # It makes one AddN of a tree of sums, and rewrites sums across unrolled microbatches.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    kernel = gen_math_ops.add_n
    if kernel.__module__ == __name__:
        return

    def add_n(inputs: Sequence[tf.Tensor], name: str | None = None) -> tf.Tensor:
        if len(inputs) <= 2:
            return kernel(inputs, name=name)
        return functools.reduce(lambda a, b: kernel([a, b], name=name), inputs)

    gen_math_ops.add_n = add_n

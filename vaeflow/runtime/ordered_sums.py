"""Sums of several tensors in a fixed order.

The gradient of a tensor with several uses is the sum of their gradients, by TensorFlow's AddN. AddN adds into a buffer
that nothing else uses any more, and starts with it. Which buffer that is depends on which threads have finished
(`AddNOp::Compute` in tensorflow/core/kernels/aggregate_ops.cc). So with three or more tensors the last bits depend on
it, even on one device. Sums of two tensors do not: a + b is b + a.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf


def add_in_order() -> None:
    """Make TensorFlow add tensors two at a time, first to last: in gradients, and by `tf.add_n`.

    TensorFlow has no option for gradients. A second call has no effect.
    """
    import tensorflow as tf
    from tensorflow.python.ops import gen_math_ops

    # The optimizer merges a tree of sums into one AddN, and rewrites sums across unrolled microbatches.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    kernel = gen_math_ops.add_n
    if kernel.__module__ == __name__:
        return

    def add_n(inputs: Sequence[tf.Tensor], name: str | None = None) -> tf.Tensor:
        if len(inputs) <= 2:
            return kernel(inputs, name=name)
        return functools.reduce(lambda a, b: kernel([a, b], name=name), inputs)

    gen_math_ops.add_n = add_n

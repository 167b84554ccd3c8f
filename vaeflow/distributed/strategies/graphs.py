"""Functions that TensorFlow traces into graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable


def graph(function: Callable[..., Any], **options: Any) -> Any:
    """Return a `tf.function` without AutoGraph, as Keras's own training loop has it.

    AutoGraph would rewrite the source of every function that is called, Keras's layers included: more than half of the
    time before a run's first step, in each process, and no code of Keras or vaeflow needs it. Python's `if` and `while`
    on a tensor are an error then, as in Keras layers under `fit`: write `tf.cond` and `tf.while_loop`.

    Args:
        function: takes and returns tensors.
        options: of `tf.function`.
    """
    return tf.function(function, autograph=False, **options)

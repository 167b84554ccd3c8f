"""Call a compiled function on arrays of any length, in blocks of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 200  # examples per compiled call; inputs are padded to full blocks, so that nothing is retraced


def in_blocks(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return a function's results for all rows, as arrays.

    Args:
        function: takes 200 rows of each input, and returns tensors with 200 rows.
        inputs: arrays of the same length, trees of arrays, or None.
    """
    count = len(next(a for a in keras.tree.flatten(inputs) if a is not None))
    padding = -count % BLOCK
    found: list[np.ndarray] = []
    for first in range(0, count, BLOCK):
        blocks = keras.tree.map_structure(lambda a, first=first: _block(a, first, padding), inputs)
        results = function(*blocks)
        arrays = [np.asarray(one) for one in keras.tree.flatten(results)]
        found = found or [np.empty((count, *array.shape[1:]), array.dtype) for array in arrays]
        for whole, array in zip(found, arrays, strict=True):
            whole[first : first + BLOCK] = array[: count - first]
    return keras.tree.pack_sequence_as(results, found)


def _block(array: np.ndarray | None, first: int, padding: int) -> tf.Tensor | None:
    """Return 200 rows from `first`; the last row is repeated where the array ends."""
    if array is None:
        return None
    block = array[first : first + BLOCK]
    missing = BLOCK - len(block) if padding else 0
    return tf.constant(np.concatenate([block, np.repeat(array[-1:], missing, axis=0)]) if missing else block)

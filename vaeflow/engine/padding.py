"""Batch normalization over the examples of a microbatch, without the rows that are padding.

Keras's layer takes a mask for its means and variances, but most layers do not pass masks on. So each such layer of a
model gets the mask of the current microbatch.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Padding:
    """Passes the mask of valid rows to batch normalization layers.

    Args:
        layers: of a model; only `keras.layers.BatchNormalization` layers are changed.
    """

    def __init__(self, layers: Iterable[keras.layers.Layer]) -> None:
        self._valid: tf.Tensor | None = None
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                object.__setattr__(layer, "call", self._masked(layer.call))  # otherwise Keras would track it

    @contextlib.contextmanager
    def masked(self, valid: tf.Tensor) -> Iterator[None]:
        """Exclude padding from means and variances inside the context.

        Args:
            valid: [B] float32, 1 for an example and 0 for padding.
        """
        self._valid = valid
        try:
            yield
        finally:
            self._valid = None

    def _masked(self, call: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        def masked_call(inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
            return call(inputs, training=training, mask=self._mask_of(inputs) if mask is None else mask)

        return masked_call

    def _mask_of(self, inputs: tf.Tensor) -> tf.Tensor | None:
        """Return [rows, 1, ...] of one axis less than the inputs; a decoder's rows are those of all L samples."""
        valid, rows = self._valid, inputs.shape[0]
        if valid is None or rows is None or rows % valid.shape[0]:
            return None
        mask = tf.tile(valid, [rows // valid.shape[0]])
        return tf.reshape(mask, (rows, *(1 for _ in inputs.shape[2:])))

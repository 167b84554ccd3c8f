"""Read examples by index in a compiled step, from device memory or a memory map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from vaeflow.runtime.memory import fits

RESIDENT_BYTES = 2 * 1024**3


class Source(Protocol):
    """Pixels of examples by their indices."""

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]; bytes are divided by 255."""


@dataclass(frozen=True)
class ResidentSource:
    """All examples in the device's memory, in their stored type.

    Attributes:
        x: [N, *X], uint8 or float32.
    """

    x: tf.Tensor

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        return _as_pixels(tf.gather(self.x, index))


@dataclass(frozen=True)
class MappedSource:
    """Examples that are read from the disk when a step needs them.

    Attributes:
        x: [N, *X], uint8 or float32, usually a memory map.
    """

    x: np.ndarray

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        rows = tf.numpy_function(self._read, [index], tf.as_dtype(self.x.dtype), stateful=False)
        return _as_pixels(tf.ensure_shape(rows, (*index.shape, *self.x.shape[1:])))

    def _read(self, index: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.x[index])


def source_of(x: np.ndarray) -> Source:
    """Return a source for examples [N, *X]: in device memory up to 2 GiB if it fits, else read as needed."""
    if x.nbytes <= RESIDENT_BYTES and fits(x.nbytes):
        return ResidentSource(tf.constant(x))
    return MappedSource(x)


def _as_pixels(stored: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(stored, tf.float32)
    return pixels / 255.0 if stored.dtype == tf.uint8 else pixels

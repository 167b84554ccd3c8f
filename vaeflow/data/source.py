"""Examples by index inside a compiled step: resident on the device, or read from a memory map."""

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
    """All examples in the device's memory, in the type they are stored in.

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
        x: [N, *X], uint8 or float32, a memory map as a rule.
    """

    x: np.ndarray

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        rows = tf.numpy_function(self._read, [index], tf.as_dtype(self.x.dtype), stateful=False)
        return _as_pixels(tf.ensure_shape(rows, (*index.shape, *self.x.shape[1:])))

    def _read(self, index: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.x[index])


def source_of(x: np.ndarray) -> Source:
    """Return a source for examples [N, *X]: resident up to 2 GiB where memory does, else read as needed."""
    if x.nbytes <= RESIDENT_BYTES and fits(x.nbytes):
        return ResidentSource(tf.constant(x))
    return MappedSource(x)


def _as_pixels(stored: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(stored, tf.float32)
    return pixels / 255.0 if stored.dtype == tf.uint8 else pixels

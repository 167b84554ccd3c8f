"""Read examples by index in a compiled step, from device memory, a memory map, or an array that computes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import tensorflow as tf

from vaeflow.data.mapped_files import MappedFiles
from vaeflow.data.sets.checks import blocks
from vaeflow.runtime.memory import fits

if TYPE_CHECKING:
    from vaeflow.contracts import LazyArray

RESIDENT_BYTES = 2 * 1024**3


class Source(Protocol):
    """Pixels of examples by their indices."""

    @property
    def files(self) -> MappedFiles:
        """The files that are read while the run trains."""

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]; bytes are divided by 255."""


@dataclass(frozen=True)
class ResidentSource:
    """All examples in the device's memory, in their stored type.

    Attributes:
        x: [N, *X], uint8 or float32.
        files: none.
    """

    x: tf.Tensor
    files: MappedFiles = field(default_factory=MappedFiles)

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        return _as_pixels(tf.gather(self.x, index))


@dataclass(frozen=True)
class MappedSource:
    """Examples that are read or computed when a step needs them.

    Attributes:
        x: [N, *X], uint8 or float32, usually a memory map.
        files: those that x is mapped from, as they were when the source was made.
    """

    x: np.ndarray | LazyArray
    files: MappedFiles

    def gather(self, index: tf.Tensor) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        rows = tf.numpy_function(self._read, [index], tf.as_dtype(self.x.dtype), stateful=False)
        return _as_pixels(tf.ensure_shape(rows, (*index.shape, *self.x.shape[1:])))

    def _read(self, index: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.x[index])


def source_of(x: np.ndarray | LazyArray) -> Source:
    """Return a source for examples [N, *X]: in device memory up to 2 GiB if it fits, else read as needed."""
    if x.nbytes <= RESIDENT_BYTES and fits(x.nbytes):
        return ResidentSource(tf.constant(_held(x)))
    return MappedSource(x, MappedFiles.of(x))


def _held(x: np.ndarray | LazyArray) -> np.ndarray:
    """Return examples [N, *X] in memory."""
    if isinstance(x, np.ndarray):
        return x
    held = np.empty(x.shape, x.dtype)
    for start, block in blocks(x):
        held[start : start + len(block)] = block
    return held


def _as_pixels(stored: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(stored, tf.float32)
    return pixels / 255.0 if stored.dtype == tf.uint8 else pixels

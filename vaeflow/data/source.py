"""Read examples by index in a compiled step: from device memory, or ahead of time from files or what computes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import tensorflow as tf

from vaeflow.data.files_in_use import FilesInUse
from vaeflow.data.read_ahead import ReadAhead
from vaeflow.data.sets.checks import blocks
from vaeflow.data.sets.lazy import HELD_BYTES
from vaeflow.errors import VaeflowError
from vaeflow.runtime.memory import fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import LazyArray

RESIDENT_BYTES = HELD_BYTES


class Source(Protocol):
    """Pixels of examples by their indices."""

    @property
    def files(self) -> FilesInUse:
        """The files that are read while the run trains."""

    def gather(self, index: tf.Tensor, following: Callable[[], tf.Tensor] | None = None) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]; bytes are divided by 255.

        Args:
            index: of the examples.
            following: returns the indices of the next call, which are then read ahead; None reads nothing ahead.
        """


@dataclass(frozen=True)
class ResidentSource:
    """All examples in the device's memory, in their stored type.

    Attributes:
        x: [N, *X], uint8 or float32.
        files: none.
    """

    x: tf.Tensor
    files: FilesInUse = field(default_factory=FilesInUse)

    def gather(
        self,
        index: tf.Tensor,
        following: Callable[[], tf.Tensor] | None = None,  # noqa: ARG002
    ) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows]."""
        return _as_pixels(tf.gather(self.x, index))


class ReadingSource:
    """Examples that are read or computed when a step needs them, ahead of time if the step says what is next.

    Args:
        x: [N, *X], uint8 or float32.

    Attributes:
        files: those that x is read from, as they were when the source was made.
    """

    def __init__(self, x: np.ndarray | LazyArray) -> None:
        self.x, self.files = x, FilesInUse.of(x)
        self._ahead = ReadAhead(lambda index: np.ascontiguousarray(x[index]))

    def gather(self, index: tf.Tensor, following: Callable[[], tf.Tensor] | None = None) -> tf.Tensor:
        """Return pixels [rows, *X] float32 for indices [rows].

        The step ends with tf.errors.InvalidArgumentError, whose message says why, if examples can't be read.
        """
        then = tf.zeros((0,), index.dtype) if following is None else following()
        types = (tf.as_dtype(self.x.dtype), tf.string)
        rows, error = tf.numpy_function(self._read, [index, then], types, stateful=False)
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(error, ""), [error], summarize=1)]):
            return _as_pixels(tf.ensure_shape(rows, (*index.shape, *self.x.shape[1:])))

    def _read(self, index: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, str]:
        """Return rows and an empty text, or no rows and the error: TensorFlow would print an exception's traceback."""
        try:
            return self._ahead.rows(index, following), ""
        except (VaeflowError, OSError) as error:
            return np.zeros((0, *self.x.shape[1:]), self.x.dtype), str(error)


def source_of(x: np.ndarray | LazyArray) -> Source:
    """Return a source for examples [N, *X]: in device memory up to 2 GiB if it fits, else read as needed."""
    if x.nbytes <= RESIDENT_BYTES and fits(x.nbytes):
        return ResidentSource(tf.constant(_held(x)))
    return ReadingSource(x)


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

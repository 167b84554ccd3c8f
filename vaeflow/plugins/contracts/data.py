"""Data sets, and what is done to their examples before the model gets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


class Transform(Protocol):
    """Transforms stored pixels on the device, before binarization."""

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X of its output, for one example."""

    @property
    def noise(self) -> str:
        """The uniform noise that it needs: 'none', 'step' (new at each step) or 'example' (fixed per example)."""

    @property
    def noise_size(self) -> int:
        """Number of uniform random numbers per example; 0 if it needs none."""

    @property
    def training_only(self) -> bool:
        """Whether it is skipped in evaluations and plots, as augmentations are."""

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return pixels [B, *X] float32 for pixels [B, *X of what comes before] and noise [B, noise_size] in (0, 1)."""


class Binarization(Protocol):
    """Turns stored pixels into x."""

    @property
    def noise(self) -> str:
        """The uniform noise that it needs: 'none', 'step' (new at each step) or 'example' (fixed per example)."""

    def __call__(self, pixels: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Return x [B, *X] float32 for pixels in [0, 1] and uniform noise of the same shape."""


class LazyArray(Protocol):
    """Examples [N, *X] that are computed, or read from somewhere, when they are indexed.

    Reading is a pure function of the index: the same example has the same bytes in every process and at every time,
    whichever examples are read with it. It is called by several threads.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *X)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the examples, uint8 or float32."""

    @property
    def nbytes(self) -> int:
        """Bytes of all examples, as if they were held in memory."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """Return examples as an array: [*X] for an integer, [B, *X] for a slice or for indices [B] in any order."""


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        x: [N, *X], uint8 (divided by 255 on the device) or float32: an array, a memory map, or a `LazyArray`, which is
            read once into the device's memory if it has at most 2 GiB and fits, else by each step for its examples.
        y: [N] integers, or None if there are no labels.
    """

    x: np.ndarray | LazyArray
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Dataset:
    """A data set as stored, before binarization.

    Attributes:
        name: the component's name.
        train: training examples.
        validation: held-out examples for decisions during training, or None.
        test: examples for the final metrics, or None.
        source: one line about the origin of the data.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    source: str

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X, the shape of one example."""
        return tuple(self.train.x.shape[1:])

    def splits(self) -> dict[str, Split]:
        """Return the existing splits by name, in the order train, validation, test."""
        all_three = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in all_three.items() if split is not None}

"""The held-out examples that plots show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vaeflow.contracts import Dataset
    from vaeflow.model.trained_vae import TrainedVAE


@dataclass(frozen=True)
class Examples:
    """Examples of one split, as the model sees them.

    Attributes:
        split: its name.
        x: [N, *X] float32, binarized.
        y: [N] integers, or None without labels.
    """

    split: str
    x: np.ndarray
    y: np.ndarray | None

    @classmethod
    def held_out(cls, trained: TrainedVAE, dataset: Dataset, limit: int) -> Examples:
        """Return the first examples of the test split, or else of validation, or else of train.

        Args:
            trained: binarizes them.
            dataset: has the splits.
            limit: their largest number.
        """
        splits = dataset.splits()
        name = next(name for name in ("test", "validation", "train") if name in splits)
        split = splits[name]
        labels = None if split.y is None else np.asarray(split.y[:limit])
        return cls(name, trained.prepare(np.asarray(split.x[:limit]), split=name), labels)

    def spread(self, count: int) -> np.ndarray:
        """Return x of `count` examples, [count, *X], cycling through the labels; the first ones if there are no labels.

        >>> Examples("test", np.arange(6), np.array([7, 7, 7, 0, 0, 1])).spread(4).tolist()
        [3, 5, 0, 4]
        """
        return self.x[self.spread_index(count)]

    def spread_index(self, count: int) -> np.ndarray:
        """Return the indices of the examples of `spread`."""
        if self.y is None:
            return np.arange(min(count, len(self.x)))
        rank = np.zeros(len(self.y), np.int64)  # number of earlier examples with the same label
        for label in np.unique(self.y):
            rank[self.y == label] = np.arange(np.count_nonzero(self.y == label))
        return np.lexsort((self.y, rank))[:count]

    def means(self, trained: TrainedVAE) -> dict[str, np.ndarray]:
        """Return the means of q(z given x) by group of latents, [N, *shape]."""
        return trained.means(self.x, labels=self.labels(trained))

    def labels(self, trained: TrainedVAE) -> np.ndarray | None:
        """Return the labels for a conditional model, [N]; None for other models."""
        return self.y if trained.classes else None

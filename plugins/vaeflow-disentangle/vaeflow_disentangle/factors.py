"""The known factors of a data set's examples, for scores.

Shapes: N examples, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import Dataset


@dataclass(frozen=True)
class KnownFactors:
    """The factors of N examples.

    Attributes:
        names: of the F factors.
        values: [N, F] float64.
        categorical: [F], whether the values of a factor are numbers of classes.
    """

    names: tuple[str, ...]
    values: np.ndarray
    categorical: tuple[bool, ...]

    def classes(self, parts: int = 10) -> np.ndarray:
        """Return the factors as numbers of classes, [N, F] int64.

        Args:
            parts: equal parts of the range of a factor that is not categorical.
        """
        columns = zip(self.values.T, self.categorical, strict=True)
        return np.stack(
            [_numbers(column) if of_classes else binned(column, parts) for column, of_classes in columns], 1
        )


def factors_of(dataset: Dataset, split: str = "test", limit: int | None = None) -> KnownFactors | None:
    """Return the factors of a split's first examples; None if the data set does not know them.

    A data set knows them if the split's `x` has a method `factors` like that of `vaeflow.data.sets.shapes.Shapes`: it
    takes a slice and returns a named tuple of arrays [N]. Arrays of integers are categorical.

    Args:
        dataset: such as `shapes`.
        split: its name.
        limit: the number of examples; None for all.

    Raises:
        UsageError: if there is no such split.
    """
    splits = dataset.splits()
    if split not in splits:
        raise UsageError(f"data set {dataset.name!r} has no split {split!r}; it has {', '.join(splits)}")
    known = getattr(splits[split].x, "factors", None)
    if known is None:
        return None
    found = {name: np.asarray(values) for name, values in known(slice(0, limit))._asdict().items()}
    values = np.stack([one.astype(np.float64) for one in found.values()], axis=1)
    return KnownFactors(tuple(found), values, tuple(one.dtype.kind in "biu" for one in found.values()))


def binned(values: np.ndarray, parts: int) -> np.ndarray:
    """Return which of equal parts of its range each value is in, [N] int64; all 0 if they are all equal.

    >>> binned(np.array([0.0, 1.0, 2.4, 2.6, 5.0]), 2).tolist()
    [0, 0, 0, 1, 1]
    """
    low, high = values.min(), values.max()
    if not high > low:
        return np.zeros(len(values), np.int64)
    return np.clip((values - low) / (high - low) * parts, 0, parts - 1).astype(np.int64)


def _numbers(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].reshape(-1)

"""The range of x in a run, found from prepared examples, to detect stored pixels that were not prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaeflow.contracts import Binarization, Dataset, Split, Transform

EXAMPLES, ELEMENTS = 256, 2**24  # of each split, evenly spread; fewer where they are large
EXACT, SLACK = 1e-3, 0.25  # fractions of the range by which x may exceed it, without and with noise or transforms
ADVICE = (
    'run.examples("test") returns prepared examples, run.prepare(pixels) prepares stored ones '
    "(any_values=True lets any value pass)"
)


@dataclass(frozen=True)
class Values:
    """The allowed values of x.

    Attributes:
        low: the smallest value.
        high: the largest value.
        binary: whether only 0 and 1 are allowed.
    """

    low: float
    high: float
    binary: bool

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        prepare: Callable[[np.ndarray, str], np.ndarray],
        binarization: Binarization,
        transforms: tuple[Transform, ...],
    ) -> Values:
        """Return the values of prepared examples of a data set.

        It prepares some examples of the data set and, if its pixels are grey, also black, white and grey ones.

        Args:
            dataset: as loaded.
            prepare: turns pixels [B, *X] and a split's name into x.
            binarization: of the run.
            transforms: of the run.
        """
        found = [
            prepare(pixels, name)
            for name, split in dataset.splits().items()
            for pixels in _tried(split, dataset.x_shape)
        ]
        finite = [x[np.isfinite(x)] for x in found]
        low = min((float(x.min()) for x in finite if x.size), default=-np.inf)
        high = max((float(x.max()) for x in finite if x.size), default=np.inf)
        binary = all(bool(is_binary(x).all()) for x in found)
        exact = not transforms and binarization.noise == "none" and low >= 0.0 and high <= 1.0
        slack = (EXACT if exact else SLACK) * (high - low)
        return cls(low - slack, high + slack, binary)

    def require(self, x: np.ndarray) -> None:
        """Check that x can be prepared examples.

        Args:
            x: [B, *X] float32.

        Raises:
            UsageError: with the first element that is not allowed.
        """
        good = is_binary(x) if self.binary else (x >= self.low) & (x <= self.high)
        if good.all():
            return
        index = np.unravel_index(int(good.argmin()), good.shape)
        allowed = "0 or 1" if self.binary else f"between {self.low:.4g} and {self.high:.4g}"
        raise UsageError(
            f"x[{', '.join(map(str, index))}] is {x[index]:.6g}, but elements of this run's prepared examples are "
            f"{allowed}; {ADVICE}"
        )


def is_binary(x: np.ndarray) -> np.ndarray:
    """Return which elements are 0 or 1."""
    return (x == 0.0) | (x == 1.0)


def spread(count: int, least: int) -> np.ndarray:
    """Return `least` indices of `count` examples, evenly spread; all indices if there are not more.

    >>> spread(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, count - 1, min(count, least)).astype(np.int64))


def _tried(split: Split, x_shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield stored examples, and random grey ones if the pixels are grey."""
    rows = max(1, min(EXAMPLES, ELEMENTS // max(1, int(np.prod(x_shape)))))
    stored = np.asarray(split.x[spread(len(split), rows)])
    yield stored
    white = 255 if stored.dtype == np.uint8 else 1
    inside = stored.min() >= 0 and stored.max() <= white
    if inside and not ((stored == 0) | (stored == white)).all():
        grey = np.random.default_rng(0).random((4, *x_shape)) * white
        yield np.concatenate([np.zeros_like(grey[:1]), np.full_like(grey[:1], white), grey]).astype(stored.dtype)

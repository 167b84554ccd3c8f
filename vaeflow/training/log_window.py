"""Training metrics between two log points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.engine.step import SCALARS
from vaeflow.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES, LOSS, ELBO, LOG_LIKELIHOOD, KL, NORM, RATE, WEIGHT, SCALE, SKIPPED = range(len(SCALARS))
STATES = (RATE, WEIGHT, SCALE)


class LogWindow:
    """Sums over steps, in float64 and in the order of the steps, however they were cut into calls.

    Args:
        sums: what `sums` gave when a checkpoint was written.
    """

    def __init__(self, sums: Sequence[float] = ()) -> None:
        self._sums = np.array(sums, np.float64) if sums else np.zeros(0)

    @property
    def sums(self) -> list[float]:
        """The sums so far, to go on with after a resume."""
        return self._sums.tolist()

    @property
    def examples(self) -> float:
        """Training examples since the last log point, without those of skipped steps."""
        return float(self._sums[1 + EXAMPLES])

    def add(self, rows: np.ndarray) -> None:
        """Add steps' rows, [steps, len(SCALARS) + K].

        Raises:
            CheckpointError: if the sums of a checkpoint are others.
        """
        for row in np.asarray(rows, np.float64):
            if self._sums.size not in (0, 1 + row.size):
                raise CheckpointError(
                    f"the checkpoint has {self._sums.size} sums of the log; this run has {1 + row.size}"
                )
            self._sums = _added(self._sums if self._sums.size else np.zeros(1 + row.size), row)

    def take(self, *, loss_scale: bool) -> tuple[dict[str, float], np.ndarray]:
        """Return the metrics by name and the mean of each term of the KL divergence; begin anew.

        Args:
            loss_scale: whether the loss scale is worth a line.
        """
        steps, sums = self._sums[0], self._sums[1:]
        good = steps - sums[SKIPPED]
        means = sums / sums[EXAMPLES] if good else np.full_like(sums, math.nan)
        scalars = {
            "train/elbo": means[ELBO],
            "train/log_likelihood": means[LOG_LIKELIHOOD],
            "train/kl": means[KL],
            "train/loss": means[LOSS],
            "train/learning_rate": sums[RATE],
            "train/kl_weight": sums[WEIGHT],
            "train/gradient_norm": sums[NORM] / good if good else math.nan,
            "train/skipped_steps": sums[SKIPPED],
        }
        if loss_scale:
            scalars["train/loss_scale"] = sums[SCALE]
        self._sums = np.zeros(0)
        return {name: float(value) for name, value in scalars.items()}, means[len(SCALARS) :]


def _added(sums: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return sums [1 + columns] with one step more: nats by examples, norms by steps, states as they are now.

    A skipped step changed nothing and its figures may be infinite: only that it was skipped is counted.
    """
    new = sums.copy()
    new[0] += 1.0
    new[[1 + column for column in STATES]] = row[list(STATES)]
    if row[SKIPPED]:
        new[1 + SKIPPED] += 1.0
        return new
    weights = np.full(row.size, row[EXAMPLES])
    weights[[EXAMPLES, NORM]] = 1.0
    weights[[*STATES, SKIPPED]] = 0.0
    new[1:] += weights * row
    return new

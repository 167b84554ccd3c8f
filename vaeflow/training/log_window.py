"""Training metrics between two log entries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.engine.step_row import StepRow
from vaeflow.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogWindow:
    """Sums over steps in float64, in the order of the steps, independent of the steps per execution.

    Args:
        sums: the value of `sums` when a checkpoint was written.
    """

    def __init__(self, sums: Sequence[float] = ()) -> None:
        self._sums = np.array(sums, np.float64) if sums else np.zeros(0)

    @property
    def sums(self) -> list[float]:
        """The sums so far, which a resumed run continues."""
        return self._sums.tolist()

    @property
    def examples(self) -> float:
        """Training examples since the last log entry, without those of skipped steps."""
        return float(StepRow.unpack(self._sums[1:]).examples)

    def add(self, rows: np.ndarray) -> None:
        """Add steps' packed rows, [steps, 10 + K].

        Raises:
            CheckpointError: if the checkpoint has another number of sums.
        """
        for row in np.asarray(rows, np.float64):
            if self._sums.size not in (0, 1 + row.size):
                raise CheckpointError(f"the checkpoint has {self._sums.size} log sums, but this run has {1 + row.size}")
            self._sums = _added(self._sums if self._sums.size else np.zeros(1 + row.size), row)

    def nats(self) -> dict[str, float]:
        """Return the means of the ELBO and its two terms by name, nats per example; NaN if all steps were skipped."""
        steps, sums = self._sums[0], StepRow.unpack(self._sums[1:])
        examples = sums.examples if steps - sums.skipped else math.nan
        return {f"train/{name}": float(getattr(sums, name) / examples) for name in ("elbo", "log_likelihood", "kl")}

    def take(self, *, loss_scale: bool) -> tuple[dict[str, float], np.ndarray]:
        """Return the metrics by name and the mean of each term of the KL divergence; reset the sums.

        Args:
            loss_scale: whether to include the loss scale.
        """
        steps, sums = self._sums[0], StepRow.unpack(self._sums[1:])
        good = steps - sums.skipped
        examples = sums.examples if good else math.nan
        scalars = {
            **self.nats(),
            "train/loss": sums.loss / examples,
            "train/learning_rate": sums.learning_rate,
            "train/kl_weight": sums.kl_weight,
            "train/gradient_norm": sums.gradient_norm / good if good else math.nan,
            "train/skipped_steps": sums.skipped,
        }
        if loss_scale:
            scalars["train/loss_scale"] = sums.loss_scale
        self._sums = np.zeros(0)
        return {name: float(value) for name, value in scalars.items()}, sums.kl_terms / examples


def _added(sums: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the sums, [1 + 10 + K] with the number of steps first, with one more step added.

    Nats are summed over examples, norms and flags over steps; other values are those of the newest step. Of a skipped
    step, only the skip is counted, since its values may be infinite.
    """
    total, step = StepRow.unpack(sums[1:]), StepRow.unpack(row)
    now = {"learning_rate": step.learning_rate, "kl_weight": step.kl_weight, "loss_scale": step.loss_scale}
    if step.skipped:
        new = total._replace(skipped=total.skipped + 1.0, **now)
    else:
        new = StepRow(
            examples=total.examples + step.examples,
            loss=total.loss + step.examples * step.loss,
            elbo=total.elbo + step.examples * step.elbo,
            log_likelihood=total.log_likelihood + step.examples * step.log_likelihood,
            kl=total.kl + step.examples * step.kl,
            gradient_norm=total.gradient_norm + step.gradient_norm,
            skipped=total.skipped,
            kl_terms=total.kl_terms + step.examples * step.kl_terms,
            **now,
        )
    return np.array([sums[0] + 1.0, *new[:-1], *new.kl_terms])

"""Callbacks that watch one metric: early stopping, best checkpoint, learning rate reduction.

Metrics are the same at the same steps on every strategy (bit for bit with a fixed number of microbatches), so the
decisions are, too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from vaeflow.callbacks.base import Callback
from vaeflow.config.resolve import METRICS_OF_VAEFLOW
from vaeflow.errors import UsageError, nearest

if TYPE_CHECKING:
    from vaeflow.callbacks.base import Record, RunView

Mode = Literal["max", "min"]


@dataclass
class Watched:
    """The best value of a metric so far, and the number of evaluations without an improvement.

    Attributes:
        metric: name of the metric in the log.
        mode: max if higher values are better.
        min_delta: smallest change that counts as an improvement, in the metric's units.
        best: the best value; None before the first.
        waited: evaluations since then.
    """

    metric: str
    mode: Mode
    min_delta: float = 0.0
    best: float | None = None
    waited: int = 0

    def improved(self, record: Record) -> bool:
        """Return whether the metric improved in an evaluation; NaN and infinity never count."""
        value = record.scalars[self.metric]
        sign = 1.0 if self.mode == "max" else -1.0
        better = self.best is None or sign * (value - self.best) > self.min_delta
        if better and math.isfinite(value):
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

    def in_words(self) -> str:
        """Return `test/elbo has not risen for 5 evaluations (best -143.20)`."""
        verb, best = "risen" if self.mode == "max" else "fallen", "none" if self.best is None else f"{self.best:.6g}"
        return f"{self.metric} has not {verb} for {self.waited} evaluation{'s' * (self.waited > 1)} (best {best})"


class WatchingCallback(Callback):
    """Stores the state of a watched metric in checkpoints.

    Args:
        watched: the metric.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def on_start(self, run: RunView) -> None:
        """Check before training that evaluations have the metric.

        Raises:
            UsageError: if they do not.
        """
        metric = self._watched.metric
        metrics = (*METRICS_OF_VAEFLOW, *(selected.name for selected in run.config.metrics))
        names = [f"{split}/{name}" for split in run.dataset.splits() if split != "train" for name in metrics]
        if metric not in names:
            raise UsageError(f"no evaluation has the metric {metric!r}; {nearest(metric, names)}")

    def state(self) -> dict[str, Any]:
        """Return the best value and the evaluations since then."""
        kept = asdict(self._watched)
        return {key: kept[key] for key in ("best", "waited")}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the best value and the evaluations since then."""
        self._watched.best, self._watched.waited = state["best"], state["waited"]


class EarlyStopping(WatchingCallback):
    """Ends a run whose metric does not improve.

    Args:
        watched: the metric.
        patience: evaluations without an improvement after which the run ends.
    """

    def __init__(self, watched: Watched, patience: int) -> None:
        super().__init__(watched)
        self._patience = patience

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Request a stop if the metric has not improved for `patience` evaluations."""
        if not self._watched.improved(record) and self._watched.waited >= self._patience:
            run.control.stop(self._watched.in_words())


class BestCheckpoint(WatchingCallback):
    """Saves a checkpoint whenever the metric improves; the best one is kept for `--best`."""

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Request a checkpoint if the metric improved."""
        if self._watched.improved(record):
            run.control.save_best(record.scalars[self._watched.metric])


class ReduceOnPlateau(WatchingCallback):
    """Reduces the learning rate when the metric does not improve.

    Args:
        watched: the metric.
        patience: evaluations without an improvement before each reduction.
        factor: factor by which the learning rate is multiplied.
        minimum: lower limit of the learning rate.
    """

    def __init__(self, watched: Watched, patience: int, factor: float, minimum: float) -> None:
        super().__init__(watched)
        self._patience, self._factor, self._minimum = patience, factor, minimum

    def on_start(self, run: RunView) -> None:
        """Check that the learning rate is a number.

        Raises:
            UsageError: if a schedule computes it.
        """
        super().on_start(run)
        if run.control.learning_rate is None:
            raise UsageError("callback 'reduce-on-plateau' needs a learning_rate that is a number, not a schedule")

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Reduce the learning rate if the metric has not improved for `patience` evaluations."""
        if self._watched.improved(record) or self._watched.waited < self._patience:
            return
        before = run.control.learning_rate
        rate = max(self._factor * (before or 0.0), self._minimum)
        if before is not None and rate < before:
            run.say(f"{self._watched.in_words()}: learning rate {before:.3g} becomes {rate:.3g}")
            run.control.set_learning_rate(rate)
        self._watched.waited = 0

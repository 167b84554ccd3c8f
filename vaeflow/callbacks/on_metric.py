"""Callbacks that watch one metric: early stopping, the best checkpoint, a learning rate that falls on a plateau.

What they decide follows from figures that are the same on every strategy (with a fixed number of microbatches, to the
last bit), at steps that are the same; so they decide alike on every strategy.
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
    """The best value of a metric so far, and for how many evaluations there was no better one.

    Attributes:
        metric: its name in the log.
        mode: whether more is better.
        min_delta: by how much a value must be better to count, in the metric's units.
        best: the best value; None before the first.
        waited: evaluations since then.
    """

    metric: str
    mode: Mode
    min_delta: float = 0.0
    best: float | None = None
    waited: int = 0

    def improved(self, record: Record) -> bool:
        """Look at one evaluation and say whether the metric got better; NaN and infinity never are."""
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
    """Keeps the state of what is watched in checkpoints.

    Args:
        watched: what is watched.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def on_start(self, run: RunView) -> None:
        """Look whether evaluations will have the metric, before any training.

        Raises:
            UsageError: if they will not.
        """
        metric = self._watched.metric
        metrics = (*METRICS_OF_VAEFLOW, *(selected.name for selected in run.config.metrics))
        names = [f"{split}/{name}" for split in run.dataset.splits() if split != "train" for name in metrics]
        if metric not in names:
            raise UsageError(f"no evaluation has the metric {metric!r}; {nearest(metric, names)}")

    def state(self) -> dict[str, Any]:
        """Return the best value and how long ago it was."""
        kept = asdict(self._watched)
        return {key: kept[key] for key in ("best", "waited")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on waiting."""
        self._watched.best, self._watched.waited = state["best"], state["waited"]


class EarlyStopping(WatchingCallback):
    """Ends a run whose metric does not get better.

    Args:
        watched: what is watched.
        patience: evaluations without a better value after which the run ends.
    """

    def __init__(self, watched: Watched, patience: int) -> None:
        super().__init__(watched)
        self._patience = patience

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Ask to stop if the metric has not got better for long enough."""
        if not self._watched.improved(record) and self._watched.waited >= self._patience:
            run.control.stop(self._watched.in_words())


class BestCheckpoint(WatchingCallback):
    """Saves a checkpoint whenever the metric gets better; the best one is kept and is what `--best` takes."""

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Ask for a checkpoint if the metric got better."""
        if self._watched.improved(record):
            run.control.save_best(record.scalars[self._watched.metric])


class ReduceOnPlateau(WatchingCallback):
    """Makes the learning rate smaller when the metric does not get better.

    Args:
        watched: what is watched.
        patience: evaluations without a better value before each reduction.
        factor: what the learning rate is multiplied by.
        minimum: the learning rate does not fall below it.
    """

    def __init__(self, watched: Watched, patience: int, factor: float, minimum: float) -> None:
        super().__init__(watched)
        self._patience, self._factor, self._minimum = patience, factor, minimum

    def on_start(self, run: RunView) -> None:
        """Look whether there is a learning rate to make smaller.

        Raises:
            UsageError: if a schedule computes it.
        """
        super().on_start(run)
        if run.control.learning_rate is None:
            raise UsageError("callback 'reduce-on-plateau' needs a learning_rate that is a number, not a schedule")

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Ask for a smaller learning rate if the metric has not got better for long enough."""
        if self._watched.improved(record) or self._watched.waited < self._patience:
            return
        before = run.control.learning_rate
        rate = max(self._factor * (before or 0.0), self._minimum)
        if before is not None and rate < before:
            run.say(f"{self._watched.in_words()}: learning rate {before:.3g} becomes {rate:.3g}")
            run.control.set_learning_rate(rate)
        self._watched.waited = 0

"""The current position of a run, which each checkpoint stores as a `Progress`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vaeflow.engine.step_row import StepRow
from vaeflow.training.checkpoints.progress import Best, Progress, better
from vaeflow.training.log_window import LogWindow

if TYPE_CHECKING:
    import numpy as np

    from vaeflow.training.requests import Requests


class Position:
    """Counts steps and seconds, and collects the metrics that are logged and compared.

    Args:
        progress: of the checkpoint that the run is resumed from; a new one for a new run.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far.
        metrics: the newest training and evaluation metrics by name.
        best: the best checkpoint so far.
        skipped: consecutive skipped steps up to this one.
        evaluating: whether an evaluation is running.
    """

    def __init__(self, progress: Progress) -> None:
        self.step, self.seconds = progress.step, progress.seconds
        self.metrics = dict(progress.metrics)
        self.best, self.skipped = progress.best, progress.skipped
        self.evaluating = False
        self._window, self._window_seconds = LogWindow(progress.window), progress.window_seconds
        self._speed = math.nan
        self._changes = progress.changes

    def advance(self, rows: np.ndarray, seconds: float) -> None:
        """Count the steps of one execution.

        Args:
            rows: packed `StepRow`s, one per step.
            seconds: that they took.
        """
        self.step += len(rows)
        self.seconds += seconds
        self._window_seconds += seconds
        self._window.add(rows)
        self._speed = float(StepRow.unpack(rows).examples.sum()) / seconds

    def take_log(self, *, loss_scale: bool) -> tuple[dict[str, float], np.ndarray]:
        """Return the training metrics since the last log entry, and the mean KL terms; start the next window.

        Args:
            loss_scale: whether to include the loss scale.
        """
        examples, seconds = self._window.examples, self._window_seconds
        scalars, kl_terms = self._window.take(loss_scale=loss_scale)
        self.metrics.update(scalars)
        self._window_seconds = 0.0
        return {**scalars, "train/examples_per_second": examples / seconds}, kl_terms

    def newest(self) -> dict[str, float]:
        """Return the nats since the last log entry and the speed of the newest execution, for the progress bar."""
        return {**self._window.nats(), "train/examples_per_second": self._speed}

    def choose_best(self, value: float) -> None:
        """Make this step's checkpoint the best, by a callback's metric."""
        self.best = Best(self.step, value, chosen=True)

    def compare_best(self) -> None:
        """Make this step's checkpoint the best if its validation ELBO is the highest so far."""
        self.best = better(self.best, self.step, self.metrics)

    def progress(self, requests: Requests) -> Progress:
        """Return what a checkpoint stores.

        Args:
            requests: the states of callbacks, and whether one has ended the run.
        """
        return Progress(
            step=self.step,
            seconds=self.seconds,
            window=self._window.sums,
            window_seconds=self._window_seconds,
            metrics=dict(self.metrics),
            best=self.best,
            skipped=self.skipped,
            callbacks=requests.states,
            stopped=requests.stopped,
            evaluation_is_due=self.evaluating,
            changes=self._changes,
        )

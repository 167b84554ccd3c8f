"""The outer loop: chunks of steps, and between them logs, evaluations, checkpoints and callbacks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.callbacks import Record
from vaeflow.engine.checkpoint import Progress
from vaeflow.engine.proof import Agreement
from vaeflow.errors import VaeflowError
from vaeflow.log_window import SKIPPED, LogWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from vaeflow.callbacks import Callback, RunView
    from vaeflow.engine.checkpoint import CheckpointFolder
    from vaeflow.engine.evaluation import Evaluator
    from vaeflow.engine.processes import Processes
    from vaeflow.experiment import Experiment

STEPS_A_CALL = 20
SKIPPED_IN_A_ROW = 50


@dataclass
class Loop:
    """Takes a run from where it is to its end.

    Attributes:
        experiment: what trains.
        view: what callbacks see.
        callbacks: what is called between chunks.
        checkpoints: where the state is saved.
        progress: where it is.
        processes: those that share the run; all of them loop, the chief alone calls back and saves.
    """

    experiment: Experiment
    view: RunView
    callbacks: Sequence[Callback]
    checkpoints: CheckpointFolder
    progress: Progress
    processes: Processes

    def __post_init__(self) -> None:
        self.step, self.seconds = self.progress.step, self.progress.seconds
        self.metrics = dict(self.progress.metrics)
        self._window = LogWindow(self.progress.window)
        self._window_seconds = self.progress.window_seconds
        self._skipped = 0
        self._agreement = Agreement(self.experiment.strategy, self.experiment.state.variables)
        held_out = [split for split in self.experiment.batches if split != "train"]
        self._evaluators: dict[str, Evaluator] = {split: self.experiment.evaluator(split) for split in held_out}

    def run(self) -> None:
        """Train to the end."""
        self._verify()
        for callback in self.callbacks:
            callback.on_start(self.view)
        while self.step < self.view.total_steps:
            self._chunk(self._next_stop())
            if self.step % (self.experiment.config.verify_every_steps or math.inf) == 0:
                self._verify()
            if self._at(self.experiment.config.log.every_steps):
                self._log()
            if self._evaluation_is_due():
                self._evaluate()
            if self._at(self.experiment.config.checkpoint.every_steps or self.view.steps_per_epoch):
                self._save()
        for callback in self.callbacks:
            callback.on_end(self.view)

    def _next_stop(self) -> int:
        config = self.experiment.config
        every = [
            config.log.every_steps,
            config.checkpoint.every_steps,
            config.verify_every_steps,
            self.view.steps_per_epoch,
        ]
        stops = [self.step + n - self.step % n for n in every if n]
        return min(*stops, self.step + STEPS_A_CALL, self.view.total_steps)

    def _at(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.view.total_steps

    def _evaluation_is_due(self) -> bool:
        return self._at(self.view.steps_per_epoch * self.experiment.config.evaluate.every_epochs)

    def _chunk(self, stop: int) -> None:
        started = time.perf_counter()
        rows = self.experiment.trainer.chunk(self.step, stop - self.step).numpy()
        seconds = time.perf_counter() - started
        self.step = stop
        self.seconds += seconds
        self._window_seconds += seconds
        self._window.add(rows)
        self._stop_if_stuck(rows)
        for callback in self.callbacks:
            callback.on_chunk(self.view, self.step)

    def _stop_if_stuck(self, rows: np.ndarray) -> None:
        for skipped in rows[:, SKIPPED]:
            self._skipped = self._skipped + 1 if skipped else 0
            if self._skipped >= SKIPPED_IN_A_ROW:
                raise VaeflowError(
                    f"the loss or its gradient was not finite for {SKIPPED_IN_A_ROW} steps in a row, up to step "
                    f"{self.step}; those steps were skipped. Try a smaller learning_rate or clip_norm"
                )

    def _log(self) -> None:
        examples, seconds = self._window.examples, self._window_seconds
        loss_scale = self.experiment.config.precision == "mixed_float16"
        scalars, kl_terms = self._window.take(loss_scale=loss_scale)
        self.metrics.update(scalars)
        scalars["train/examples_per_second"] = examples / seconds
        self._window_seconds = 0.0
        per_dimension = {"train": kl_terms} if kl_terms.size == self.experiment.model.latent_size else {}
        record = self._record(scalars, per_dimension)
        for callback in self.callbacks:
            callback.on_log(self.view, record)

    def _evaluate(self) -> None:
        scalars, per_dimension = self._scalars()
        self.metrics.update(scalars)
        for callback in self.callbacks:
            callback.on_evaluation(self.view, self._record(scalars, per_dimension))

    def _scalars(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        scalars: dict[str, float] = {}
        per_dimension: dict[str, np.ndarray] = {}
        for split, evaluator in self._evaluators.items():
            evaluation = evaluator()
            scalars.update(evaluation.scalars(split))
            if evaluation.kl_per_dimension.size:
                per_dimension[split] = evaluation.kl_per_dimension
        return scalars, per_dimension

    def _record(self, scalars: dict[str, float], per_dimension: dict[str, np.ndarray]) -> Record:
        epoch = self.step / self.view.steps_per_epoch
        return Record(self.step, epoch, scalars, per_dimension, final=self.step == self.view.total_steps)

    def _save(self) -> None:
        self.processes.on_chief(self._write)
        for callback in self.callbacks:
            callback.on_checkpoint(self.view, self.step)

    def _write(self) -> str:
        progress = Progress(self.step, self.seconds, self._window.sums, self._window_seconds, self.metrics)
        self.checkpoints.save(self.experiment.state.arrays(), progress)
        return ""

    def _verify(self) -> None:
        """Say that all replicas hold the same state, or stop."""
        replicas = self.experiment.strategy.replicas
        if replicas > 1:
            fingerprint = self._agreement.check()
            self.view.say(f"step {self.step}: all {replicas} replicas hold the same state ({fingerprint})")

"""The outer loop: chunks of steps, and between them logs, evaluations, checkpoints and callbacks."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.callbacks import Asked, Record
from vaeflow.distributed.strategies.verify import Agreement
from vaeflow.engine.evaluation import figures
from vaeflow.errors import StoppedError
from vaeflow.training.checkpoints.progress import Best, Progress, better
from vaeflow.training.elastic import LeavingError, MembersChangedError
from vaeflow.training.log_window import LogWindow
from vaeflow.training.nonfinite import NonFiniteSteps, in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from vaeflow.callbacks import Callbacks, RunView
    from vaeflow.distributed.job.stop_signals import StopRequest
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.engine.evaluation import Evaluation, Evaluator
    from vaeflow.training.callback_requests import Requests
    from vaeflow.training.checkpoints.background import BackgroundSaves
    from vaeflow.training.elastic import Members
    from vaeflow.training.experiment import Experiment

STEPS_A_CALL = 20
SECONDS_A_CALL = 2.0  # or fewer steps, so that a signal is soon heard
SECONDS_OF_SIGNALS = 1.0  # in which a signal for all processes reaches the last of them


@dataclass
class Loop:
    """Takes a run from where it is to its end.

    Attributes:
        experiment: what trains.
        view: what callbacks see.
        callbacks: what is called between chunks.
        requests: what callbacks ask.
        saves: where the state is saved.
        progress: where it is.
        processes: those that share the run; all of them loop, the chief alone calls back and saves.
        request: whether this process was asked to stop.
        roll_back: puts the newest checkpoint's state back on all processes and returns its step.
        members: what remembers the run for the case that processes come or go.
    """

    experiment: Experiment
    view: RunView
    callbacks: Callbacks
    requests: Requests
    saves: BackgroundSaves
    progress: Progress
    processes: Processes
    request: StopRequest
    roll_back: Callable[[], int]
    members: Members

    def __post_init__(self) -> None:
        self.step, self.seconds = self.progress.step, self.progress.seconds
        self.metrics = dict(self.progress.metrics)
        self._window = LogWindow(self.progress.window)
        self._window_seconds = self.progress.window_seconds
        self._nonfinite = NonFiniteSteps(self.experiment, self.progress.skipped)
        self._seconds_a_step = 0.0
        self._best = self.progress.best
        self._evaluating = False
        self._agreement = Agreement(self.experiment.strategy, self.experiment.state.variables)
        held_out = [split for split in self.experiment.batches if split != "train"]
        self._evaluators: dict[str, Evaluator] = {split: self.experiment.evaluator(split) for split in held_out}

    def run(self) -> None:
        """Train to the end.

        Raises:
            StoppedError: if a signal asked a process to stop; all processes have stopped at the same step.
            MembersChangedError: if processes of an elastic job come or go.
            NonFiniteError: if losses or gradients were not finite, and the config says to stop, on all processes.
            UnsavedError: if the last state could not be saved.
        """
        self._verify()
        if self.step == 0:  # a disk that takes nothing is better known before days of training than after
            self._save()
            self.saves.committed(wait=True)
            self._require_saved()
        self.requests.begin(self.step)
        self.callbacks.tell("on_start")
        if self.progress.evaluation_is_due:
            self._between_chunks()
        while self.step < self.view.total_steps and not self.requests.stopped:
            go_on = self._chunk(self._next_stop(min(self._agreed_steps(), self._nonfinite.longest_call)))
            error = None if go_on else self._nonfinite.stopped(self.step, f"vaeflow resume {self.view.directory}")
            self._between_chunks()
            if error is not None:
                self._diagnose()
                raise error
        self._committed(wait=True)
        self._require_saved()
        self.callbacks.tell("on_end")
        self.processes.on_chief(self.callbacks.require_written)

    def _between_chunks(self) -> None:
        self._committed(wait=False)
        if self.step % (self.experiment.config.verify_every_steps or math.inf) == 0:
            self._verify()
        logged, evaluated = self._at(self.experiment.config.log.every_steps), self._evaluation_is_due()
        epoch, steps_into_it = divmod(self.step, self.view.steps_per_epoch)
        evaluations = self._evaluations() if evaluated else {}  # where a signal may end it, nothing was told yet
        if logged:
            self._log()
        if evaluated:
            self._tell_of(evaluations)
        if steps_into_it == 0:
            self.callbacks.tell("on_epoch", epoch)
        asked = self.requests.hear() if logged or evaluated or steps_into_it == 0 else Asked()
        if asked.stop and not evaluated:
            self._tell_of({split: evaluator() for split, evaluator in self._evaluators.items()})
            asked, evaluated = asked.then(self.requests.hear()), True
        if asked.best is not None:
            self._best = Best(self.step, asked.best, chosen=True)
        save_is_due = self._at(self.experiment.config.checkpoint.every_steps or self.view.steps_per_epoch)
        if save_is_due or asked.save or asked.stop:
            self._save(evaluated=evaluated)

    def _agreed_steps(self) -> int:
        """Return how many steps all processes take next, by the chief's clock.

        Raises:
            StoppedError: on all processes, if any of them was asked to stop; in an elastic job on those alone.
            MembersChangedError: on all processes, if others come or go.
        """
        steps = STEPS_A_CALL
        if self._seconds_a_step:
            steps = max(1, min(steps, int(SECONDS_A_CALL / self._seconds_a_step)))
        number, asked, chief = self.request.number or 0, self.request.number is not None, self.processes.chief
        requests, ranks, numbers, agreed, changes, due = self.processes.add(
            asked,
            asked * self.processes.rank,
            number,
            steps * chief,
            self.members.changed(),
            self.members.due() * chief,
        )
        if due or changes or requests:
            self._remember()
        if requests:
            who = f"{signal.Signals(numbers).name} at rank {ranks}" if requests == 1 else f"signals at {requests} ranks"
            self._asked(who)
        if changes:
            raise MembersChangedError(f"step {self.step}: the launcher has other hosts")
        return agreed

    def _asked(self, who: str) -> None:
        """Stop all processes; in an elastic job those that were asked, if the others were not."""
        if self.members.elastic:
            time.sleep(SECONDS_OF_SIGNALS)
            asked = self.request.number is not None
            if self.processes.add(asked)[0] < self.processes.count:
                left = f"left the job at step {self.step}: {who}"
                raise LeavingError(left) if asked else MembersChangedError(left)
        self._stop(who)

    def _stop(self, who: str) -> None:
        self._save()
        self._committed(wait=True)
        self._require_saved()
        raise StoppedError(
            f"stopped by {who}, at step {self.step} of {self.view.total_steps}, which is saved: "
            f"`vaeflow resume {self.view.directory}` goes on"
        )

    def _next_stop(self, steps: int) -> int:
        config = self.experiment.config
        every = [config.log.every_steps, config.checkpoint.every_steps, config.verify_every_steps]
        stops = [self.step + n - self.step % n for n in (*every, self.view.steps_per_epoch) if n]
        return min(*stops, self.step + steps, self.view.total_steps)

    def _at(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.view.total_steps

    def _evaluation_is_due(self) -> bool:
        return self._at(self.view.steps_per_epoch * self.experiment.config.evaluate.every_epochs)

    def _chunk(self, stop: int) -> bool:
        """Take the steps up to one, or fewer where one is not finite; return whether the run may go on."""
        started = time.perf_counter()
        rows = self.experiment.trainer.chunk(self.step, stop - self.step).numpy()
        seconds = time.perf_counter() - started
        self._seconds_a_step = seconds / len(rows)
        self.step += len(rows)
        self.view.control.step = self.step
        self.seconds += seconds
        self._window_seconds += seconds
        self._window.add(rows)
        verdict = self._nonfinite.judge(rows)
        if verdict == "rollback":
            self._committed(wait=True)
            self.view.say(in_words(self.step, rows[-1], self.roll_back()))
            self.requests.keep_learning_rate()
        self.callbacks.tell("on_chunk", self.step)
        return verdict != "stop"

    def _diagnose(self) -> None:
        """Save the state, and meanwhile say why the newest step was not finite."""
        self._save()
        if self.processes.chief:
            for line in self._nonfinite.diagnosis(self.step):
                self.view.say(line)
        self._committed(wait=True)
        self._require_saved()

    def _log(self) -> None:
        examples, seconds = self._window.examples, self._window_seconds
        loss_scale = self.experiment.config.precision == "mixed_float16"
        scalars, kl_terms = self._window.take(loss_scale=loss_scale)
        self.metrics.update(scalars)
        scalars["train/examples_per_second"] = examples / seconds
        self._window_seconds = 0.0
        per_dimension = {"train": kl_terms} if kl_terms.size == self.experiment.model.latent_size else {}
        self.callbacks.tell("on_log", self._record(scalars, per_dimension))

    def _evaluations(self) -> dict[str, Evaluation]:
        """Evaluate each split. A signal ends it, and the checkpoint that is saved then says that it is due.

        Raises:
            StoppedError: as `_agreed_steps` does, and what else it raises.
        """
        self._evaluating = True
        evaluations = {split: evaluator(self._agreed_steps) for split, evaluator in self._evaluators.items()}
        self._evaluating = False
        return evaluations

    def _tell_of(self, evaluations: dict[str, Evaluation]) -> None:
        scalars, kl_per_dimension = figures(evaluations)
        self.metrics.update(scalars)
        self.callbacks.tell("on_evaluation", self._record(scalars, kl_per_dimension))

    def _record(self, scalars: dict[str, float], per_dimension: dict[str, np.ndarray]) -> Record:
        epoch = self.step / self.view.steps_per_epoch
        final = self.step == self.view.total_steps or bool(self.requests.stopped)
        return Record(self.step, epoch, scalars, per_dimension, final=final)

    def _save(self, *, evaluated: bool = False) -> None:
        """Begin to save the state; the one before must be on the disk."""
        self._committed(wait=True)
        if evaluated:
            self._best = better(self._best, self.step, self.metrics)
        self._remember()  # or a checkpoint could be newer than what those who meet again know
        if self.processes.chief:
            self.saves.save(self.experiment.state.arrays(), self._progress())

    def _remember(self) -> None:
        self.members.remember(str(self.view.directory), self.experiment.state, self._progress())

    def _progress(self) -> Progress:
        return Progress(
            step=self.step,
            seconds=self.seconds,
            window=self._window.sums,
            window_seconds=self._window_seconds,
            metrics=dict(self.metrics),
            best=self._best,
            skipped=self._nonfinite.in_a_row,
            callbacks=self.requests.states,
            stopped=self.requests.stopped,
            evaluation_is_due=self._evaluating,
            changes=self.progress.changes,
        )

    def _committed(self, *, wait: bool) -> None:
        """Tell callbacks of a checkpoint that is on the disk by now."""
        step = self.saves.committed(wait=wait)
        if step is not None:
            self.callbacks.tell("on_checkpoint", step)

    def _require_saved(self) -> None:
        """Raise on all processes if the chief's disk refused the newest state."""
        self.processes.on_chief(self.saves.require_saved)

    def _verify(self) -> None:
        """Say that all replicas hold the same state, or stop."""
        replicas = self.experiment.strategy.replicas
        if replicas > 1:
            fingerprint = self._agreement.check()
            self.view.say(f"step {self.step}: all {replicas} replicas hold the same state ({fingerprint})")

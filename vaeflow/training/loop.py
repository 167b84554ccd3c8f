"""The training loop: executions of many steps, with logs, evaluations, checkpoints and callbacks between them."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.callbacks import Asked, Record
from vaeflow.distributed.strategies.verify import Agreement
from vaeflow.engine.evaluation import figures
from vaeflow.errors import LeavingError, MembersChangedError, StoppedError
from vaeflow.training.nonfinite import NonFiniteSteps, rollback_line
from vaeflow.training.same_data import require_same_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np

    from vaeflow.callbacks import Callbacks, RunView
    from vaeflow.engine.evaluation import Evaluation, Evaluator
    from vaeflow.training.checkpoints.background import BackgroundSaves
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.position import Position
    from vaeflow.training.requests import Requests

STEPS_PER_EXECUTION = 20
SECONDS_PER_EXECUTION = 2.0  # limits the steps per execution, so that signals are handled soon


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch of training, or of the run if that is within an epoch.

    Attributes:
        directory: of the run.
        number: of the epoch, from 1.
        step: optimizer steps taken since the start of the run.
        metrics: the newest values by name, such as `train/elbo` and `test/elbo`, in nats per example.
    """

    directory: Path
    number: int
    step: int
    metrics: Mapping[str, float]


@dataclass
class Loop:
    """Trains a run from its current position to its end.

    Attributes:
        experiment: the objects of the run.
        view: the run as callbacks see it.
        callbacks: called between executions.
        position: the current position of the run.
        requests: from callbacks, signals and the launcher.
        saves: saves the state.
        roll_back: restores the newest checkpoint on all processes and returns its step.
    """

    experiment: Experiment
    view: RunView
    callbacks: Callbacks
    position: Position
    requests: Requests
    saves: BackgroundSaves
    roll_back: Callable[[], int]

    def __post_init__(self) -> None:
        self._processes, self._members = self.requests.processes, self.requests.members
        self._nonfinite = NonFiniteSteps(self.experiment, self.position)
        self._seconds_per_step = 0.0
        self._agreement = Agreement(self.experiment.strategy, self.experiment.state.variables)
        held_out = [split for split in self.experiment.batches if split != "train"]
        self._evaluators: dict[str, Evaluator] = {split: self.experiment.evaluator(split) for split in held_out}

    def epochs(self, *, evaluation_is_due: bool = False) -> Iterator[Epoch]:
        """Train to the end, and yield after each epoch: after its evaluation, callbacks and checkpoint.

        What the caller does meanwhile does not change the run. If the caller closes the generator, the state is saved.

        Args:
            evaluation_is_due: whether the run was stopped during an evaluation, which is then done first.

        Raises:
            StoppedError: if a process received a stop signal; all processes stopped at the same step.
            MembersChangedError: if processes of an elastic job join or leave.
            NonFiniteError: on all processes, if losses or gradients were not finite and the config stops the run.
            UnsavedError: if the last state could not be saved.
        """
        self._verify()
        if self.position.step == 0:  # a disk that can't be written must be found before training, not after
            self._save()
            self.saves.committed(wait=True)  # without `on_checkpoint`: `on_start` is the first call
            self._require_saved()
        self.requests.begin(self.position.step)
        self.callbacks.tell("on_start")
        if evaluation_is_due:
            self._between_executions()
        while self.position.step < self.view.total_steps and not self.requests.stopped:
            finite = self._execute(
                self._next_stop(min(self._agreed_steps(self.view.control.most_steps), self._nonfinite.most_steps))
            )
            resume = f"vaeflow resume {self.view.directory}"
            error = None if finite else self._nonfinite.stopped(self.position.step, resume)
            self._between_executions()
            if error is not None:
                self._diagnose()
                raise error
            if self._at(self.view.steps_per_epoch):
                yield from self._hand_over()
        self._require_saved()
        self.callbacks.tell("on_end")
        self._processes.on_chief(self.callbacks.require_written)

    def _hand_over(self) -> Iterator[Epoch]:
        step, per_epoch = self.position.step, self.view.steps_per_epoch
        try:
            yield Epoch(self.view.directory, math.ceil(step / per_epoch), step, dict(self.position.metrics))
        except GeneratorExit:
            self._save()
            self._require_saved()
            left = f"left by the caller at step {step} of {self.view.total_steps}; the state is saved"
            self.view.say(f"{left}. `vaeflow resume {self.view.directory}` continues the run")
            self.callbacks.tell_of(StoppedError(left))
            raise

    def _between_executions(self) -> None:
        config, step = self.experiment.config, self.position.step
        self._committed(wait=False)
        if step % (config.verify_every_steps or math.inf) == 0:
            self._verify()
        logged, evaluated = self._at(config.log.every_steps), self._evaluation_is_due()
        epoch, steps_into_it = divmod(step, self.view.steps_per_epoch)
        evaluations = self._evaluations() if evaluated else {}  # before any callback is called: a signal may end it
        if logged:
            self._log()
        if evaluated:
            self._tell_of(evaluations)
        if steps_into_it == 0:
            self.callbacks.tell("on_epoch", epoch)
        requested = self.requests.of_callbacks() if logged or evaluated or steps_into_it == 0 else Asked()
        if requested.stop and not evaluated:
            with self.view.doing("evaluating"):
                evaluations = {split: evaluator() for split, evaluator in self._evaluators.items()}
            self._tell_of(evaluations)
            requested, evaluated = requested.then(self.requests.of_callbacks()), True
        if requested.best is not None:
            self.position.choose_best(requested.best)
        save_is_due = self._at(config.checkpoint.every_steps or self.view.steps_per_epoch)
        if save_is_due or requested.save or requested.stop:
            self._save(evaluated=evaluated)

    def _agreed_steps(self, most: int = STEPS_PER_EXECUTION) -> int:
        """Return the steps of the next execution on all processes, by rank 0's clock and limit.

        Raises:
            StoppedError: on all processes, if one received a stop signal; in an elastic job only on that process.
            MembersChangedError: on all processes, if others join or leave.
        """
        steps = min(most, STEPS_PER_EXECUTION)
        if self._seconds_per_step:
            steps = max(1, min(steps, int(SECONDS_PER_EXECUTION / self._seconds_per_step)))
        agreed = self.requests.agree(steps)
        if agreed.snapshot_is_due or agreed.hosts_changed or agreed.signals:
            self._snapshot()
        if agreed.signals:
            self._stop(agreed.signals)
        if agreed.hosts_changed:
            raise MembersChangedError(f"step {self.position.step}: the launcher's hosts changed")
        return agreed.steps

    def _stop(self, who: str) -> None:
        """Stop all processes; in an elastic job only those that received a signal, unless all did."""
        step = self.position.step
        if self._members.elastic and not self.requests.all_must_stop():
            left = f"left the job at step {step}: {who}"
            raise LeavingError(left) if self.requests.signal.number is not None else MembersChangedError(left)
        self._save()
        self._require_saved()
        raise StoppedError(
            f"stopped by {who} at step {step} of {self.view.total_steps}; the state is saved. "
            f"`vaeflow resume {self.view.directory}` continues the run"
        )

    def _next_stop(self, steps: int) -> int:
        config = self.experiment.config
        every = [config.log.every_steps, config.checkpoint.every_steps, config.verify_every_steps]
        stops = [self.position.step + n - self.position.step % n for n in (*every, self.view.steps_per_epoch) if n]
        return min(*stops, self.position.step + steps, self.view.total_steps)

    def _at(self, every: int) -> bool:
        return self.position.step % every == 0 or self.position.step == self.view.total_steps

    def _evaluation_is_due(self) -> bool:
        return self._at(self.view.steps_per_epoch * self.experiment.config.evaluate.every_epochs)

    def _execute(self, stop: int) -> bool:
        """Run the steps up to `stop`, or fewer if one is not finite; return whether the run may continue."""
        first, started = self.position.step, time.perf_counter()
        rows = self.experiment.trainer.execute(first, stop - first).numpy()
        seconds = time.perf_counter() - started
        self._seconds_per_step = seconds / len(rows)
        self.position.advance(rows, seconds)
        step = self.view.control.step = self.position.step
        self.view.newest.update(self.position.newest())
        verdict = self._nonfinite.judge(rows)
        if verdict == "rollback":
            self._committed(wait=True)
            self.view.say(rollback_line(step, rows[-1], self.roll_back()))
            self.requests.keep_learning_rate()
        self.callbacks.tell("on_steps", step)
        return verdict != "stop"

    def _diagnose(self) -> None:
        """Save the state, and meanwhile print why the newest step was not finite."""
        self._save()
        if self._processes.chief:
            for line in self._nonfinite.diagnosis(self.position.step):
                self.view.say(line)
        self._require_saved()

    def _log(self) -> None:
        loss_scale = self.experiment.config.precision == "mixed_float16"
        scalars, kl_terms = self.position.take_log(loss_scale=loss_scale)
        columns = self.experiment.columns
        scalars |= {f"train/{name}": value for name, value in columns.scalars(kl_terms).items()}
        self.callbacks.tell("on_log", self._record(scalars, columns.per_dimension("train", kl_terms)))

    def _evaluations(self) -> dict[str, Evaluation]:
        """Evaluate each split. If a signal ends the evaluation, the saved checkpoint records that it is due.

        Raises:
            StoppedError: and other errors, as `_agreed_steps`.
        """
        self.position.evaluating = True
        with self.view.doing("evaluating"):
            evaluations = {split: evaluator(self._agreed_steps) for split, evaluator in self._evaluators.items()}
        self.position.evaluating = False
        return evaluations

    def _tell_of(self, evaluations: dict[str, Evaluation]) -> None:
        scalars, kl_per_dimension = figures(evaluations)
        self.position.metrics.update(scalars)
        self.callbacks.tell("on_evaluation", self._record(scalars, kl_per_dimension))

    def _record(self, scalars: dict[str, float], per_dimension: dict[str, np.ndarray]) -> Record:
        epoch = self.position.step / self.view.steps_per_epoch
        final = self.position.step == self.view.total_steps or bool(self.requests.stopped)
        return Record(self.position.step, epoch, scalars, per_dimension, final=final)

    def _save(self, *, evaluated: bool = False) -> None:
        """Start to save the state, after the previous save has finished; if the data are still the same."""
        self._committed(wait=True)
        require_same_data(self.experiment.batches.values(), self._processes, self.view.directory)
        if evaluated:
            self.position.compare_best()
        self._snapshot()  # otherwise a checkpoint could be newer than the snapshot that an elastic job continues from
        if self._processes.chief:
            self.saves.save(self.experiment.state.arrays(), self.position.progress(self.requests))

    def _snapshot(self) -> None:
        progress = self.position.progress(self.requests)
        self._members.snapshot_now(str(self.view.directory), self.experiment.state, progress)

    def _committed(self, *, wait: bool) -> None:
        """Call `on_checkpoint` of the callbacks if a checkpoint was written."""
        with self.view.doing("saving") if wait else contextlib.nullcontext():
            step = self.saves.committed(wait=wait)
        if step is not None:
            self.callbacks.tell("on_checkpoint", step)

    def _require_saved(self) -> None:
        """Wait for the newest save; raise on all processes if rank 0 could not write it."""
        self._committed(wait=True)
        self._processes.on_chief(self.saves.require_saved)

    def _verify(self) -> None:
        """Check that all replicas have the same state; stop if not."""
        replicas = self.experiment.strategy.replicas
        if replicas > 1:
            fingerprint = self._agreement.check()
            self.view.say(f"step {self.position.step}: all {replicas} replicas have the same state ({fingerprint})")

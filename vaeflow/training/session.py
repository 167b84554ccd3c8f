"""One process's part of a run: restore, train and end together with the other processes of the job."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.callbacks import Callbacks, RunView
from vaeflow.distributed.heartbeat import Watch
from vaeflow.errors import (
    ElsewhereError,
    LeavingError,
    MembersChangedError,
    NonFiniteError,
    RankError,
    StoppedError,
    VaeflowError,
    of_the_machine,
)
from vaeflow.runtime.console import say
from vaeflow.training.checkpoints.restore import checkpoints, restore_to_train, with_changes
from vaeflow.training.init_from import take_weights
from vaeflow.training.outcome import say_outcome
from vaeflow.training.provenance.changes import changes
from vaeflow.training.provenance.record import Provenance
from vaeflow.training.requests import Requests
from vaeflow.training.run_files.names import clean
from vaeflow.training.summary import settle, summarise

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from vaeflow.callbacks.group import Called
    from vaeflow.config.resolve import Resolved
    from vaeflow.distributed.job.stop_signals import StopRequest
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.training.checkpoints.background import BackgroundSaves
    from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress
    from vaeflow.training.elastic import Members, Snapshot
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.loop import Epoch, Loop
    from vaeflow.training.run_files.directory import RunDirectory


SAME_STEP = (StoppedError, NonFiniteError, MembersChangedError, GeneratorExit)
"""Errors that all processes raise at the same step."""
LAST_SAVE = 5.0  # seconds to finish a running save before the process is killed


@dataclass(frozen=True)
class Session:
    """A process's view of the run that it trains.

    Attributes:
        directory: of the run; only rank 0 writes.
        resolved: the config and its components.
        experiment: the objects of the run.
        record: the provenance record.
        accept_changes: whether the record may differ from that of the newest checkpoint.
        processes: of the job.
        callbacks: on rank 0; none on other processes.
        members: workers of the job, and their snapshot.
        request: whether this process received a stop signal.
        options: that other commands on the run need, see `vaeflow.training.outcome`.
    """

    directory: RunDirectory
    resolved: Resolved
    experiment: Experiment
    record: Provenance
    accept_changes: bool
    processes: Processes
    callbacks: Sequence[Called]
    members: Members
    request: StopRequest
    options: Sequence[str] = ()

    def resume(self) -> Iterator[Epoch]:
        """Train from the newest valid checkpoint to the end, or from the start if the run has no checkpoint yet.

        This and the methods below yield at the end of each epoch.

        Raises:
            CheckpointError: if no checkpoint is valid, or it is one of another model.
        """
        total = self.experiment.timeline.total_steps
        if self.processes.on_chief(self._restarted):
            yield from self.begin()
            return
        progress = self._restore()
        finished = self.processes.on_chief(lambda: self._finished(progress))
        if finished:
            early = f" ({progress.stopped})" if progress.stopped else ""
            say(f"{self.directory.path}: already finished at step {progress.step} of {total}{early}; {finished}")
            say_outcome(self.directory.path, self.resolved, progress, self.options)
            self._leave()
        else:
            say(f"{self.directory.path}: resuming from step {progress.step} of {total}")
            self._describe_resumed(progress)
            yield from self.fit(progress)

    def _restarted(self) -> bool:
        """Return whether the run was stopped before its first checkpoint; if so, write its environment again."""
        if not self.directory.untouched():
            return False
        self.directory.describe_again(self.resolved, self.experiment.strategy, self.record)
        say(f"{self.directory.path}: stopped before its first checkpoint; restarting at step 0")
        return True

    def resume_from(self, snapshot: Snapshot) -> Iterator[Epoch]:
        """Train to the end from the snapshot of an elastic job."""
        self.experiment.state.from_bytes(snapshot.state)
        step, replicas = snapshot.progress.step, self.experiment.strategy.replicas
        say(f"{replicas} replica{'s' if replicas > 1 else ''} from now on; resuming from step {step}")
        found = changes(Provenance.from_json(snapshot.record), self.record, self.resolved.config)
        progress = with_changes(snapshot.progress, found)
        self._describe_resumed(progress)
        yield from self.fit(progress)

    def begin(self) -> Iterator[Epoch]:
        """Train from step 0, from the weights of another run if the config names one.

        Raises:
            CheckpointError: if those are of another model, or corrupt.
        """
        from vaeflow.training.checkpoints.folder import Progress

        if self.resolved.config.init_from is not None:
            self.processes.on_chief(
                lambda: take_weights(self.directory.path, self.resolved, self.experiment, self.record)
            )
        yield from self.fit(Progress())

    def fit(self, progress: Progress) -> Iterator[Epoch]:
        """Train to the end. Only rank 0 calls callbacks, saves and summarises.

        Raises:
            StoppedError: if a process received a stop signal.
            MembersChangedError: if processes of an elastic job join or leave, or one was lost.
        """
        from vaeflow.training.checkpoints.background import BackgroundSaves
        from vaeflow.training.same_gradients import require_same_gradients

        folder = self._checkpoints()
        if self.processes.chief:
            clean(self.directory.path)
        self._share_state()
        if self.resolved.config.microbatches != "auto":
            require_same_gradients(self.experiment.trainer.step.microbatches, progress.step, self.processes)
        self.members.snapshot_now(str(self.directory.path), self.experiment.state, progress)
        saves = BackgroundSaves(folder, say)
        watch = Watch(
            self.processes,
            before_exit=lambda: saves.settle(LAST_SAVE),
            elastic=self.members.elastic,
            advice=f"`vaeflow resume {self.directory.path}` continues from the newest checkpoint",
        )
        with contextlib.closing(saves):
            try:
                loop = yield from self._train(progress, saves)
            except BaseException as error:
                ended = self._ended(error, watch)
                if ended is error:
                    raise
                raise ended from error
        if self.processes.chief:
            final = loop.position.progress(loop.requests)
            summarise(self.directory, self.resolved, self.experiment, final)
            say_outcome(self.directory.path, self.resolved, final, self.options)
        self._leave(watch)

    def _ended(self, error: BaseException, watch: Watch) -> BaseException:
        """Return the error that this process ends with; all other processes end, too."""
        if isinstance(error, SAME_STEP):
            self._leave(watch)
            if isinstance(error, (LeavingError, MembersChangedError, GeneratorExit)):
                return error
            return error if self.processes.chief else ElsewhereError(str(error), error.exit_code)
        # An all-reduce may fail because of this process or because another one is gone; the watch will find out.
        end = watch.end() if of_the_machine(error) else None
        if self.members.survives(error):
            watch.close()
            return MembersChangedError(end.reason if end else "a process was lost")
        if end is not None:
            watch.close()
            speaks = self.processes.chief or end.silent
            return RankError(watch.in_words(end), end.code) if speaks else ElsewhereError(end.reason, end.code)
        if isinstance(error, ElsewhereError):
            watch.close()
            return error
        if isinstance(error, VaeflowError):
            reason, code = str(error), error.exit_code
        else:
            reason, code = f"{type(error).__name__}: {error}", 130 if isinstance(error, KeyboardInterrupt) else 1
        return ElsewhereError(reason, code) if watch.fail(reason, code) else error

    def _train(self, progress: Progress, saves: BackgroundSaves) -> Generator[Epoch, None, Loop]:
        from vaeflow.training.loop import Loop
        from vaeflow.training.position import Position

        view = self._view(progress)
        callbacks = Callbacks(self.callbacks, view)
        requests = Requests(
            experiment=self.experiment,
            callbacks=callbacks,
            control=view.control,
            processes=self.processes,
            signal=self.request,
            members=self.members,
            states=progress.callbacks,
            stopped=progress.stopped,
        )
        loop = Loop(
            experiment=self.experiment,
            view=view,
            callbacks=callbacks,
            position=Position(progress),
            requests=requests,
            saves=saves,
            roll_back=self._roll_back,
        )
        try:
            yield from loop.epochs(evaluation_is_due=progress.evaluation_is_due)
        except GeneratorExit:  # the loop has told them
            raise
        except BaseException as error:
            callbacks.tell_of(error)
            raise
        return loop

    def _restore(self) -> Progress:
        """Restore on rank 0 and broadcast the state: other processes need no access to its disk."""
        from vaeflow.training.checkpoints.folder import Progress

        progress = Progress.from_json(self.processes.on_chief(self._restore_here))
        self._share_state()
        return progress

    def _restore_here(self) -> str:
        return restore_to_train(
            self.directory, self.resolved, self.experiment, self.record, accept_changes=self.accept_changes
        ).to_json()

    def _checkpoints(self) -> CheckpointFolder:
        return checkpoints(self.directory, self.resolved, self.record)

    def _roll_back(self) -> int:
        """Restore the newest checkpoint on all processes, and return its step."""
        from vaeflow.training.nonfinite import put_back

        folder = self._checkpoints()
        step = self.processes.on_chief(lambda: put_back(folder, self.experiment))
        self._share_state()
        return step

    def _finished(self, progress: Progress) -> str:
        """Return a text about what was done for a run that is finished; an empty text if it is not."""
        if not progress.is_final(self.experiment.timeline.total_steps):
            return ""
        clean(self.directory.path)
        return settle(self.directory, self.resolved, self.experiment, progress)

    def _describe_resumed(self, progress: Progress) -> None:
        """Record at which step the run is resumed, and what has changed."""

        def describe() -> str:
            strategy, step = self.experiment.strategy, progress.step
            return self.directory.describe_resumed(self.resolved, strategy, self.record, step, progress.changes)

        reason = self.processes.on_chief(describe)
        if reason:
            say(f"warning: the run's original environment can't be read ({reason}); the checkpoint's record was used")

    def _leave(self, watch: Watch | None = None) -> None:
        """End together with all processes: one that ends early would be reported as dead."""
        self.processes.barrier()
        if watch is not None:
            watch.close()
        self.experiment.strategy.close()

    def _share_state(self) -> None:
        state = self.experiment.state
        self.processes.share(state.to_bytes, state.from_bytes)

    def _view(self, progress: Progress) -> RunView:
        return RunView(
            directory=self.directory.path,
            config=self.resolved.config,
            dataset=self.experiment.dataset,
            trained=self.experiment.trained,
            first_step=progress.step,
            total_steps=self.experiment.timeline.total_steps,
            steps_per_epoch=self.experiment.timeline.steps_per_epoch,
            say=say,
            plots=self.experiment.plots,
            stop_requested=lambda: self.request.number is not None,
        )

"""Handle steps whose loss or gradient is not finite: skip, stop or roll back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from vaeflow.engine.step_row import StepRow
from vaeflow.errors import NonFiniteError
from vaeflow.training.nonfinite_diagnosis import diagnose

if TYPE_CHECKING:
    from vaeflow.training.checkpoints.folder import CheckpointFolder
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.position import Position

Verdict = Literal["continue", "rollback", "stop"]


@dataclass
class NonFiniteSteps:
    """Applies `nonfinite` of the config to steps. All processes see the same steps and decide alike.

    Attributes:
        experiment: the objects of the run.
        position: the current position of the run; it counts consecutive skipped steps.
    """

    experiment: Experiment
    position: Position

    @property
    def most_steps(self) -> int:
        """Most steps of the next execution, so that it ends at the step after which the run must stop."""
        return max(1, self.experiment.config.nonfinite.stop_after - self.position.skipped)

    def judge(self, rows: np.ndarray) -> Verdict:
        """Return what follows an execution.

        Args:
            rows: packed, [steps, 10 + K].
        """
        config, trainer = self.experiment.config.nonfinite, self.experiment.trainer
        for skipped in StepRow.unpack(rows).skipped:
            self.position.skipped = self.position.skipped + 1 if skipped else 0
        if self.position.skipped >= config.stop_after:
            return "stop"
        return config.action if config.action != "skip" and bool(trainer.step.is_bad(rows[-1])) else "continue"

    def stopped(self, step: int, resume: str) -> NonFiniteError:
        """Return the error that ends the run; reset the count of skipped steps for a resumed run.

        Args:
            step: steps taken.
            resume: the command that resumes the run.
        """
        many, self.position.skipped = self.position.skipped, 0
        when = (
            f"for {many} steps in a row, up to step {step}; those steps were" if many > 1 else f"at step {step}; it was"
        )
        limit = self.experiment.config.skip_norm
        large = "" if limit is None else f", or its gradient's norm was above skip_norm = {limit:g},"
        return NonFiniteError(
            f"the loss or its gradient was not finite{large} {when} skipped, and the state is saved. "
            f"`{resume}` continues with the same config. To change the config, start a new run: try a smaller "
            "learning_rate or clip_norm"
        )

    def diagnosis(self, step: int) -> list[str]:
        """Return one to four lines about why the newest of `step` steps was not finite; never raises."""
        try:
            return diagnose(self.experiment.trainer.step, step - 1)
        except Exception as error:  # noqa: BLE001 It must not hide the error that stops the run.
            return [f"step {step}: no diagnosis: {type(error).__name__}: {' '.join(str(error).split())}"]


def put_back(folder: CheckpointFolder, experiment: Experiment) -> int:
    """Restore the newest checkpoint that is valid and finite; return its step.

    Regular checkpoints are tried first, then those that were saved on a signal, which an uninterrupted run does not
    have.

    Args:
        folder: of the run's checkpoints.
        experiment: its state is replaced.

    Raises:
        CheckpointError: if no checkpoint is valid.
    """
    every = experiment.config.checkpoint.every_steps or experiment.timeline.steps_per_epoch
    regular = (found for found in folder.valid() if found[1].step % every == 0 and _finite(found[0]))
    arrays, progress = next(regular, None) or folder.latest()
    experiment.state.assign(arrays)
    return progress.step


def rollback_line(step: int, row: np.ndarray, back: int) -> str:
    """Return a line about a step that caused a rollback.

    Args:
        step: steps taken.
        row: packed, of the newest step.
        back: the step of the restored checkpoint.
    """
    what = "gradient" if np.isfinite(StepRow.unpack(row).loss) else "loss"
    return f"step {step}: the {what} was not finite; step {step + 1} continues from the checkpoint of step {back}"


def _finite(arrays: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays.values())

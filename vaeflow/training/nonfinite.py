"""What a run does about steps whose loss or gradient is not finite."""

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

Verdict = Literal["go on", "rollback", "stop"]


@dataclass
class NonFiniteSteps:
    """Judges steps by `nonfinite` of the config. All processes see the same steps and judge alike.

    Attributes:
        experiment: what trains.
        position: where the run is; it counts the steps that were skipped one after another.
    """

    experiment: Experiment
    position: Position

    @property
    def longest_call(self) -> int:
        """Most steps that a call may take, so that it ends at the step after which the run must stop."""
        return max(1, self.experiment.config.nonfinite.stop_after - self.position.skipped)

    def judge(self, rows: np.ndarray) -> Verdict:
        """Return what comes after a call.

        Args:
            rows: packed, [steps, 10 + K].
        """
        config, trainer = self.experiment.config.nonfinite, self.experiment.trainer
        for skipped in StepRow.unpack(rows).skipped:
            self.position.skipped = self.position.skipped + 1 if skipped else 0
        if self.position.skipped >= config.stop_after:
            return "stop"
        return config.action if config.action != "skip" and bool(trainer.step.is_bad(rows[-1])) else "go on"

    def stopped(self, step: int, resume: str) -> NonFiniteError:
        """Return the error that ends the run; whoever goes on with it begins a new row of skipped steps.

        Args:
            step: steps taken.
            resume: the command that goes on.
        """
        many, self.position.skipped = self.position.skipped, 0
        when = (
            f"for {many} steps in a row, up to step {step}; those steps were" if many > 1 else f"at step {step}; it was"
        )
        return NonFiniteError(
            f"the loss or its gradient was not finite {when} skipped, and the state is saved: `{resume}` goes on with "
            "the same config. For another, start anew: try a smaller learning_rate or clip_norm"
        )

    def diagnosis(self, step: int) -> list[str]:
        """Return in words why the newest of `step` steps was not finite, one to four lines; never fails."""
        try:
            return diagnose(self.experiment.trainer.step, step - 1)
        except Exception as error:  # noqa: BLE001 The run stops for another reason, which this must not hide.
            return [f"step {step}: no diagnosis: {type(error).__name__}: {' '.join(str(error).split())}"]


def put_back(folder: CheckpointFolder, experiment: Experiment) -> int:
    """Put an experiment into the state of the newest checkpoint that is valid and finite; return its step.

    Checkpoints that a signal left between the regular ones come last: a run that nobody stopped has none.

    Args:
        folder: of the run's checkpoints.
        experiment: what is changed.

    Raises:
        CheckpointError: if no checkpoint is valid.
    """
    every = experiment.config.checkpoint.every_steps or experiment.timeline.steps_per_epoch
    regular = (found for found in folder.valid() if found[1].step % every == 0 and _finite(found[0]))
    arrays, progress = next(regular, None) or folder.latest()
    experiment.state.assign(arrays)
    return progress.step


def in_words(step: int, row: np.ndarray, back: int) -> str:
    """Return a line about a step whose numbers led back to a checkpoint.

    Args:
        step: steps taken.
        row: the newest one's.
        back: the step of the checkpoint whose state is in place now.
    """
    what = "gradient" if np.isfinite(StepRow.unpack(row).loss) else "loss"
    return f"step {step}: the {what} was not finite; step {step + 1} goes on from the state of step {back}'s checkpoint"


def _finite(arrays: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays.values())

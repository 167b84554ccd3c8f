"""The life of a run as a callback sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np

    from vaeflow.config import Config
    from vaeflow.contracts import Dataset
    from vaeflow.trained import TrainedVAE


@dataclass(frozen=True)
class Record:
    """What is logged at one point of a run.

    Attributes:
        step: optimizer steps taken since the start of the run.
        epoch: passes over the training examples, a fraction in the middle of one.
        scalars: values by TensorBoard's names, such as `train/bound` (nats an example) or `test/active_units`.
        kl_per_dimension: mean KL divergence of each latent dimension by split, [D] nats; empty where it is no sum over
            dimensions.
        final: whether the run ends here.
    """

    step: int
    epoch: float
    scalars: Mapping[str, float]
    kl_per_dimension: Mapping[str, np.ndarray] = field(default_factory=dict)
    final: bool = False


@dataclass(frozen=True)
class RunView:
    """What a callback may look at.

    Attributes:
        directory: the run's directory.
        config: as resolved.
        dataset: as loaded, before binarization.
        trained: the model with its weights as they are at the moment it is called.
        first_step: where this process started: 0, or the step that was resumed.
        total_steps: where the run ends.
        steps_per_epoch: steps in one pass over the training examples.
        say: prints one line for people, on the chief alone and above a progress bar.
    """

    directory: Path
    config: Config
    dataset: Dataset
    trained: TrainedVAE
    first_step: int
    total_steps: int
    steps_per_epoch: int
    say: Callable[[str], None]


class Callback:
    """Does nothing at every point of a run; override what you need. All methods are called on the chief alone."""

    def on_start(self, run: RunView) -> None:
        """Before the first step of this process."""

    def on_chunk(self, run: RunView, step: int) -> None:
        """After each compiled call; `step` steps have been taken."""

    def on_log(self, run: RunView, record: Record) -> None:
        """At a log point: means over the training steps since the last one."""

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """After an evaluation: scalars of the splits that were evaluated."""

    def on_checkpoint(self, run: RunView, step: int) -> None:
        """After a checkpoint was committed to the disk."""

    def on_end(self, run: RunView) -> None:
        """After the last step, its evaluation and its checkpoint."""

    def on_exception(self, run: RunView, error: BaseException) -> None:
        """When the run ends early; the error is raised again afterwards."""

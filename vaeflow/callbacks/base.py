"""The life of a run as a callback sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.control import Control
from vaeflow.errors import FileError
from vaeflow.files.read import read_json
from vaeflow.files.write import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np

    from vaeflow.config.schema import Config
    from vaeflow.contracts import Dataset
    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots import Plot


@dataclass(frozen=True)
class Record:
    """What is logged at one point of a run.

    Attributes:
        step: optimizer steps taken since the start of the run.
        epoch: passes over the training examples, a fraction in the middle of one.
        scalars: values by TensorBoard's names, such as `train/elbo` (nats an example) or `test/active_units`.
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
        control: where a callback asks to stop, to save, or for another learning rate.
        plots: what the config draws, by name.
        stop_requested: returns whether a signal asks this process to stop, which it does after the moments that follow
            the newest step; work that takes long may end early.
    """

    directory: Path
    config: Config
    dataset: Dataset
    trained: TrainedVAE
    first_step: int
    total_steps: int
    steps_per_epoch: int
    say: Callable[[str], None]
    control: Control = field(default_factory=Control)
    plots: Mapping[str, Plot] = field(default_factory=dict)
    stop_requested: Callable[[], bool] = lambda: False

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return self.control.step

    @property
    def settings(self) -> dict[str, Any]:
        """The config as nested dicts of plain values, with the keys of `config.toml`."""
        return self.config.model_dump(mode="json")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small file of your own into the run's directory; it appears complete or not at all.

        Args:
            name: the file's.
            content: what JSON can hold.

        Raises:
            OSError: if the disk refuses.
        """
        write_json(self.directory / name, content)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return a file that `write_json` wrote; an empty dict if there is none, or it can't be read."""
        try:
            return read_json(self.directory / name)
        except FileError:
            return {}


class Callback:
    """Does nothing at every moment of a run; override what you need.

    A callback is built, and all its methods are called, on the chief (rank 0) alone, between compiled calls of steps.
    Other ranks wait meanwhile. So it may write files below `run.directory` without a thought for other processes, and
    must not call TensorFlow's or Horovod's collectives, which would wait for the other ranks for ever.
    """

    def on_start(self, run: RunView) -> None:
        """Before the first step of this process; on the chief alone."""

    def on_steps(self, run: RunView, step: int) -> None:
        """After each compiled call, at most 20 steps and about 2 s apart; `step` steps have been taken; on the chief.

        After which steps it comes depends on the machine's speed, so nothing that changes the run may be asked here.
        """

    def on_log(self, run: RunView, record: Record) -> None:
        """At a log point: means over the steps since the last one; on the chief alone. May ask `run.control`."""

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """After an evaluation: scalars of the splits that were evaluated; on the chief alone. May ask `run.control`."""

    def on_epoch(self, run: RunView, epoch: int) -> None:
        """After each whole epoch, counted from 1, and its evaluation; on the chief alone. May ask `run.control`."""

    def on_checkpoint(self, run: RunView, step: int) -> None:
        """After the checkpoint of a step was committed to the disk, which may be steps later; on the chief alone."""

    def on_end(self, run: RunView) -> None:
        """After the last step, its evaluation and its checkpoint; on the chief alone."""

    def on_exception(self, run: RunView, error: BaseException) -> None:
        """When the run ends early, stopped by a signal or failed; the error is raised again; on the chief alone."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must know of this callback, as JSON has it; part of every checkpoint.

        It is asked for after `on_log`, `on_evaluation` and `on_epoch`; what `on_steps` changed later is not saved.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned before the run was stopped; before `on_start`, and not in a new run."""


MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The methods that are called as a run goes on."""

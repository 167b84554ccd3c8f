"""The base class of callbacks, and the objects that they receive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.control import Control
from vaeflow.callbacks.doing import Doing
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
    """The metrics that are logged at one step.

    Attributes:
        step: optimizer steps taken since the start of the run.
        epoch: passes over the training examples; a fraction within an epoch.
        scalars: values by name, as in metrics.jsonl, such as `train/elbo` (nats per example) or `test/active_units`.
        kl_per_dimension: mean KL divergence of each latent dimension by split, or by `SPLIT/GROUP` if the model has
            several groups of latents, [D] nats; without groups whose divergence is not a sum over dimensions.
        final: whether the run ends here.
    """

    step: int
    epoch: float
    scalars: Mapping[str, float]
    kl_per_dimension: Mapping[str, np.ndarray] = field(default_factory=dict)
    final: bool = False


@dataclass(frozen=True)
class RunView:
    """The run as a callback sees it.

    Attributes:
        directory: the run's directory.
        config: the resolved config.
        dataset: the loaded data set, before binarization.
        trained: the model with its current weights.
        first_step: where this process started: 0, or the step that was resumed.
        total_steps: where the run ends.
        steps_per_epoch: steps in one pass over the training examples.
        say: prints one line, on rank 0 only and above a progress bar.
        control: takes requests to stop, to save, or to change the learning rate.
        plots: the plots of the config, by name.
        doing: names what takes long, in the progress bar: `with run.doing("drawing plots"): ...`.
        newest: training metrics, up to date in `on_steps`; empty before the first steps. Read only: `train/elbo`,
            `train/log_likelihood` and `train/kl` are means over the steps since the last log entry, nats per example;
            `train/examples_per_second` is that of the newest execution.
        stop_requested: returns whether a signal has requested this process to stop. It stops after the callbacks of
            the newest step, so work that takes long may end early.
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
    doing: Doing = field(default_factory=Doing)
    newest: dict[str, float] = field(default_factory=dict)
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
        """Write a small JSON file into the run's directory, atomically.

        Args:
            name: of the file.
            content: values that JSON supports.

        Raises:
            OSError: if writing fails.
        """
        write_json(self.directory / name, content)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a file that `write_json` wrote; an empty dict if it is missing or can't be read."""
        try:
            return read_json(self.directory / name)
        except FileError:
            return {}


class Callback:
    """Base class of callbacks; its methods do nothing. Override those that you need.

    A callback is built, and all its methods are called, on rank 0 only, between executions of compiled steps. Other
    ranks wait meanwhile. A callback may therefore write files below `run.directory`. It must not call TensorFlow's or
    Horovod's collectives, which would wait for the other ranks forever.
    """

    def on_start(self, run: RunView) -> None:
        """Called before the first step of this process; on rank 0 only."""

    def on_steps(self, run: RunView, step: int) -> None:
        """Called after each execution of at most 20 steps and about 2 s, when `step` steps have been taken; on rank 0.

        The steps at which it is called depend on the machine's speed, so requests that change the run are not allowed.
        """

    def on_log(self, run: RunView, record: Record) -> None:
        """Called with means over the steps since the last log entry; on rank 0 only. It may use `run.control`."""

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Called after an evaluation with metrics of the evaluated splits; on rank 0 only. It may use `run.control`."""

    def on_epoch(self, run: RunView, epoch: int) -> None:
        """Called after each epoch, counted from 1, and its evaluation; on rank 0 only. It may use `run.control`."""

    def on_checkpoint(self, run: RunView, step: int) -> None:
        """Called when the checkpoint of a step is on the disk, which may be some steps later; on rank 0 only."""

    def on_end(self, run: RunView) -> None:
        """Called after the last step, its evaluation and its checkpoint; on rank 0 only."""

    def on_exception(self, run: RunView, error: BaseException) -> None:
        """Called when a signal or an error ends the run early; the error is raised again; on rank 0 only."""

    def state(self) -> dict[str, Any]:
        """Return the state of this callback as JSON values; every checkpoint stores it.

        It is called after `on_log`, `on_evaluation` and `on_epoch`; later changes by `on_steps` are not saved.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the value of `state` in a resumed run; called before `on_start`, and not in a new run."""


MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The methods of a callback that are called during a run."""

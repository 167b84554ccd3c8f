"""What callbacks ask of a run on the chief, done by all processes at the same step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks import Asked

if TYPE_CHECKING:
    from vaeflow.callbacks import Callbacks, Control
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.training.experiment import Experiment


@dataclass
class Requests:
    """Hears callbacks and keeps what must outlive this process.

    Attributes:
        experiment: what trains.
        callbacks: of the chief; none on other processes.
        control: what they ask through.
        processes: of the job.
        states: of the callbacks, the same on all processes: in an elastic job another one may be the chief next.
        stopped: why a callback ended the run; empty if none did.
    """

    experiment: Experiment
    callbacks: Callbacks
    control: Control
    processes: Processes
    states: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""

    def begin(self, step: int) -> None:
        """Hand callbacks what they knew when the run was stopped."""
        self.control.step, self.control.learning_rate = step, self.experiment.learning_rate
        self.callbacks.restore(self.states)

    def hear(self) -> Asked:
        """Return what was asked since the last time, on all processes; the learning rate is set already.

        All processes call this at the same step, after moments that may ask.
        """
        if not self.experiment.config.callbacks:
            return Asked()
        answer = self.processes.on_chief(self._on_chief)
        asked = Asked(**answer["asked"])
        self.states = answer["states"]
        self.stopped = self.stopped or asked.stop
        if asked.learning_rate is not None:
            self.experiment.set_learning_rate(asked.learning_rate)
            self.control.learning_rate = self.experiment.learning_rate  # as rounded, and as a resumed run reads it
        return asked

    def keep_learning_rate(self) -> None:
        """Set the learning rate again after a checkpoint's state was put back: what a callback decided stays."""
        if self.control.learning_rate is not None:
            self.experiment.set_learning_rate(self.control.learning_rate)

    def _on_chief(self) -> dict[str, Any]:
        return {"asked": asdict(self.control.take()), "states": self.callbacks.states()}

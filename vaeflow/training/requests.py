"""Requests to a run: from callbacks on rank 0, from signals on any process, from the launcher of an elastic job.

All processes act on a request at the same step, so all of them call each of these methods at the same step.
"""

from __future__ import annotations

import signal
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from vaeflow.callbacks import Asked

if TYPE_CHECKING:
    from vaeflow.callbacks import Callbacks, Control
    from vaeflow.distributed.job.stop_signals import StopRequest
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.training.elastic import Members
    from vaeflow.training.experiment import Experiment

SECONDS_OF_SIGNALS = 1.0  # time within which a signal to all processes reaches the last one


class Agreed(NamedTuple):
    """What all processes do next.

    Attributes:
        steps: steps of the next execution.
        signals: the received signals, as text; empty if there are none.
        hosts_changed: whether the launcher's hosts changed (elastic jobs).
        snapshot_is_due: whether to take a snapshot (elastic jobs).
    """

    steps: int
    signals: str
    hosts_changed: bool
    snapshot_is_due: bool


@dataclass
class Requests:
    """Collects requests, and stores the states of callbacks on all processes.

    Attributes:
        experiment: the objects of the run.
        callbacks: on rank 0; none on other processes.
        control: receives the requests of callbacks.
        processes: of the job.
        signal: whether this process received a stop signal.
        members: of an elastic job.
        states: of the callbacks, the same on all processes: in an elastic job another process may become rank 0.
        stopped: why a callback ended the run; empty if none did.
    """

    experiment: Experiment
    callbacks: Callbacks
    control: Control
    processes: Processes
    signal: StopRequest
    members: Members
    states: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""

    def begin(self, step: int) -> None:
        """Restore the state of callbacks from when the run was stopped."""
        self.control.step, self.control.learning_rate = step, self.experiment.learning_rate
        self.callbacks.restore(self.states)

    def of_callbacks(self) -> Asked:
        """Return the requests of callbacks since the last call; a new learning rate is already set."""
        if not self.experiment.config.callbacks:
            return Asked()
        answer = self.processes.on_chief(self._on_chief)
        requested = Asked(**answer["requested"])
        self.states = answer["states"]
        self.stopped = self.stopped or requested.stop
        if requested.learning_rate is not None:
            self.experiment.set_learning_rate(requested.learning_rate)
            self.control.learning_rate = self.experiment.learning_rate  # rounded, as a resumed run reads it
        return requested

    def agree(self, steps: int) -> Agreed:
        """Return what all processes do next.

        Args:
            steps: of the next execution, by this process's clock; rank 0's value is used.
        """
        number, chief = self.signal.number, self.processes.chief
        count, ranks, numbers, agreed, changed, due = self.processes.add(
            number is not None,
            self.processes.rank * (number is not None),
            number or 0,
            steps * chief,
            self.members.changed(),
            self.members.due() * chief,
        )
        signals = f"{signal.Signals(numbers).name} at rank {ranks}" if count == 1 else f"signals at {count} ranks"
        return Agreed(agreed, signals if count else "", bool(changed), bool(due))

    def all_must_stop(self) -> bool:
        """Return whether every process received a signal; wait, since a signal to all takes a moment."""
        time.sleep(SECONDS_OF_SIGNALS)
        return self.processes.add(self.signal.number is not None)[0] == self.processes.count

    def keep_learning_rate(self) -> None:
        """Set the learning rate of callbacks again after a rollback, which does not undo it."""
        if self.control.learning_rate is not None:
            self.experiment.set_learning_rate(self.control.learning_rate)

    def _on_chief(self) -> dict[str, Any]:
        return {"requested": asdict(self.control.take()), "states": self.callbacks.states()}

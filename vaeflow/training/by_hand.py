"""A run that is trained epoch by epoch, in a loop of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow.training.loaded import Run
from vaeflow.training.run import epochs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.training.loop import Epoch
    from vaeflow.training.run import Place, Ready


class TrainingRun(Run):
    """A run that `epochs` trains. Between epochs it has the current weights. `vaeflow.start` returns one."""

    def __init__(self, ready: Ready, place: Place) -> None:
        super().__init__(place.path, ready.experiment)
        self._ready, self._place, self._begun = ready, place, False

    def epochs(self) -> Iterator[Epoch]:
        """Train to the end, and yield after each epoch, its evaluation, callbacks and checkpoint.

        The final weights are those of `vaeflow train`, bit for bit. A loop that is left early, by `break` or an
        exception, saves the state; `vaeflow.resume` continues it. In a job of several processes, each must run the
        same loop.

        Yields:
            The epoch's number, the step and the newest metrics.

        Raises:
            UsageError: if it was called before.
            VaeflowError: see its subclasses.
        """
        if self._begun:
            raise UsageError(
                f"{self!r} was trained before; vaeflow.resume or vaeflow.start(..., resume=True) continues it"
            )
        self._begun = True
        for epoch in epochs(self._ready, self._place):
            self._directory, self.step, self.metrics = epoch.directory, epoch.step, dict(epoch.metrics)
            yield epoch

"""What a callback may ask of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vaeflow.errors import PluginError, UsageError


@dataclass
class Control:
    """Requests of callbacks. The loop hands what was asked on the chief to all ranks, which act on it at one step.

    Only moments that come at the same steps on every machine may ask: `on_log`, `on_evaluation` and `on_epoch`. After
    how many steps `on_steps` comes depends on how fast the machine is, so a run that it changed would too.

    Attributes:
        step: optimizer steps taken.
        learning_rate: the optimizer's, or None where a schedule computes it.
    """

    step: int = 0
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        self._moment = ""
        self._asked = Asked()

    def stop(self, why: str) -> None:
        """End the run after this moment, as if it were its last step: evaluated, saved, summarised.

        Args:
            why: one line, `test/elbo has not risen for 5 epochs`, for people and for summary.json.

        Raises:
            PluginError: if the moment is not the same on every machine, or there is no reason.
        """
        self._require_moment("stop")
        reason = " ".join(why.split())
        if not reason:
            raise PluginError("run.control.stop wants a reason, one line for people")
        self._asked = replace(self._asked, stop=self._asked.stop or reason)

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimizer's learning rate from the next step on.

        Args:
            rate: above 0.

        Raises:
            PluginError: if the moment is not the same on every machine, or the rate is not above 0.
            UsageError: if a schedule computes the learning rate.
        """
        self._require_moment("set_learning_rate")
        if self.learning_rate is None:
            raise UsageError("learning_rate: a schedule computes it, and a callback wants to change it; set a number")
        if not (rate > 0 and math.isfinite(rate)):
            raise PluginError(f"a learning rate must be above 0, but a callback sets {rate!r}")
        self.learning_rate = float(rate)  # NumPy's numbers are welcome, but JSON takes none
        self._asked = replace(self._asked, learning_rate=self.learning_rate)

    def save(self) -> None:
        """Save a checkpoint after this moment, whether one is due or not.

        Raises:
            PluginError: if the moment is not the same on every machine.
        """
        self._require_moment("save")
        self._asked = replace(self._asked, save=True)

    def save_best(self, value: float) -> None:
        """Save a checkpoint after this moment and keep it as the best: `--best` takes it until the next one.

        Args:
            value: of the metric that it is the best by.

        Raises:
            PluginError: if the moment is not the same on every machine.
        """
        self._require_moment("save_best")
        self._asked = replace(self._asked, save=True, best=float(value))

    def enter(self, moment: str) -> None:
        """Note which moment callbacks are told of."""
        self._moment = moment

    def take(self) -> Asked:
        """Return what was asked since the last call."""
        asked, self._asked = self._asked, Asked()
        return asked

    def _require_moment(self, request: str) -> None:
        if self._moment not in MOMENTS_THAT_ASK:
            raise PluginError(
                f"run.control.{request} was called in {self._moment or 'no moment of the run'}; it may be in "
                f"{', '.join(MOMENTS_THAT_ASK)}, which come at the same steps on every machine"
            )


@dataclass(frozen=True)
class Asked:
    """What callbacks asked at one step.

    Attributes:
        stop: why the run is to end; empty if it is not.
        save: whether a checkpoint is wanted.
        best: the value of the metric that it is the best by, or None.
        learning_rate: the new one, or None.
    """

    stop: str = ""
    save: bool = False
    best: float | None = None
    learning_rate: float | None = None

    def then(self, later: Asked) -> Asked:
        """Return this and what was asked later at the same step, which wins.

        >>> Asked(stop="done", best=1.0).then(Asked(best=2.0))
        Asked(stop='done', save=False, best=2.0, learning_rate=None)
        """
        return Asked(
            stop=self.stop or later.stop,
            save=self.save or later.save,
            best=self.best if later.best is None else later.best,
            learning_rate=self.learning_rate if later.learning_rate is None else later.learning_rate,
        )


MOMENTS_THAT_ASK = ("on_log", "on_evaluation", "on_epoch")

"""Requests of callbacks to a run: stop, save, set the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vaeflow.errors import PluginError, UsageError


@dataclass
class Control:
    """Requests of callbacks. The training loop sends them from rank 0 to all ranks, which act at the same step.

    Requests are allowed only in `on_log`, `on_evaluation` and `on_epoch`, which are called at the same steps on every
    machine. The steps of `on_steps` depend on the machine's speed, so a run that it changed would, too.

    Attributes:
        step: optimizer steps taken.
        learning_rate: of the optimizer; None if a schedule computes it.
        most_steps: largest number of steps of the next execution. It changes no bits, so `on_steps` may set it.
    """

    step: int = 0
    learning_rate: float | None = None
    most_steps: int = 1_000_000

    def __post_init__(self) -> None:
        self._moment = ""
        self._asked = Asked()

    def stop(self, why: str) -> None:
        """End the run after this step as if it were the last one: evaluate, save and summarise.

        Args:
            why: the reason in one line, such as `test/elbo has not risen for 5 epochs`; summary.json stores it.

        Raises:
            PluginError: if it is called in another method than those above, or `why` is empty.
        """
        self._require_moment("stop")
        reason = " ".join(why.split())
        if not reason:
            raise PluginError("run.control.stop needs a reason, a text of one line")
        self._asked = replace(self._asked, stop=self._asked.stop or reason)

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimizer's learning rate from the next step on.

        Args:
            rate: the new learning rate, above 0.

        Raises:
            PluginError: if it is called in another method than those above, or the rate is not above 0.
            UsageError: if a schedule computes the learning rate.
        """
        self._require_moment("set_learning_rate")
        if self.learning_rate is None:
            raise UsageError("learning_rate: a callback changes it, so it must be a number, not a schedule")
        if not (rate > 0 and math.isfinite(rate)):
            raise PluginError(f"a learning rate must be above 0, but a callback sets {rate!r}")
        self.learning_rate = float(rate)  # JSON does not support NumPy's numbers
        self._asked = replace(self._asked, learning_rate=self.learning_rate)

    def save(self) -> None:
        """Save a checkpoint after this step, even if none is due.

        Raises:
            PluginError: if it is called in another method than those above.
        """
        self._require_moment("save")
        self._asked = replace(self._asked, save=True)

    def save_best(self, value: float) -> None:
        """Save a checkpoint after this step and keep it as the best one, which `--best` uses, until the next call.

        Args:
            value: of the metric.

        Raises:
            PluginError: if it is called in another method than those above.
        """
        self._require_moment("save_best")
        self._asked = replace(self._asked, save=True, best=float(value))

    def enter(self, moment: str) -> None:
        """Set the method of callbacks that is about to be called."""
        self._moment = moment

    def take(self) -> Asked:
        """Return the requests since the last call."""
        asked, self._asked = self._asked, Asked()
        return asked

    def _require_moment(self, request: str) -> None:
        if self._moment not in REQUEST_METHODS:
            raise PluginError(
                f"run.control.{request} was called in {self._moment or 'no method of a callback'}; it is allowed in "
                f"{', '.join(REQUEST_METHODS)}, which are called at the same steps on every machine"
            )


@dataclass(frozen=True)
class Asked:
    """Requests of callbacks at one step.

    Attributes:
        stop: why to end the run; empty to continue.
        save: whether to save a checkpoint.
        best: the metric's value if the checkpoint is the best one, or None.
        learning_rate: the new learning rate, or None.
    """

    stop: str = ""
    save: bool = False
    best: float | None = None
    learning_rate: float | None = None

    def then(self, later: Asked) -> Asked:
        """Merge with later requests at the same step, which take precedence.

        >>> Asked(stop="done", best=1.0).then(Asked(best=2.0))
        Asked(stop='done', save=False, best=2.0, learning_rate=None)
        """
        return Asked(
            stop=self.stop or later.stop,
            save=self.save or later.save,
            best=self.best if later.best is None else later.best,
            learning_rate=self.learning_rate if later.learning_rate is None else later.learning_rate,
        )


REQUEST_METHODS = ("on_log", "on_evaluation", "on_epoch")

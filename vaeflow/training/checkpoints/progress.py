"""The progress of a run, as stored in a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vaeflow.errors import FileError
from vaeflow.files.read import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

Steps = Annotated[int, Field(ge=0, lt=10**18)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Best:
    """The checkpoint with the best value of a metric.

    Attributes:
        step: its step.
        value: of the metric.
        chosen: whether a callback chose it, by another metric.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Steps
    value: float
    chosen: bool = False


@dataclass(frozen=True)
class Progress:
    """The progress of a run; the position in the data follows from it.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far, over all processes that continued the run.
        window: sums since the last log entry, so that a resumed run logs the same values.
        window_seconds: time of the steps in the window.
        metrics: the newest training and evaluation metrics by name.
        best: the best checkpoint so far; it is never removed.
        skipped: consecutive skipped steps up to this one.
        callbacks: states of callbacks for a resume, in their order.
        stopped: why a callback ended the run; empty if none did.
        evaluation_is_due: whether the run was stopped during an evaluation, which a resumed run does first.
        changes: changes while the run was stopped that may affect its bits, as text.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Steps = 0
    seconds: Seconds = 0.0
    window: list[float] = field(default_factory=list)
    window_seconds: Seconds = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    skipped: Steps = 0
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    evaluation_is_due: bool = False
    changes: list[str] = field(default_factory=list)

    def is_final(self, total_steps: int) -> bool:
        """Return whether no step is left: all were taken, or a callback ended the run.

        Args:
            total_steps: of the run.
        """
        return self.step >= total_steps or bool(self.stopped)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, place: str = "progress") -> Progress:
        """Return what `to_json` wrote.

        Args:
            text: the JSON text.
            place: the source of the text; errors start with it.

        Raises:
            FileError: if the text is not valid.

        >>> Progress.from_json(Progress(7, best=Best(5, -100.0)).to_json()).best
        Best(step=5, value=-100.0, chosen=False)
        """
        parse_json(text, place, finite=False)  # bounds its depth; metrics may be NaN
        try:
            progress = _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise FileError(f"{place}: {key[:99]}: {first['msg']}") from None
        reason = _contradiction(progress)
        if reason is not None:
            raise FileError(f"{place}: {reason}")
        return progress


def better(best: Best | None, step: int, metrics: Mapping[str, float]) -> Best | None:
    """Return the best checkpoint, given the metrics of a new one.

    The validation split is used, not the test split: selection by the test split would bias its metrics.

    Args:
        best: the best checkpoint so far.
        step: of the new checkpoint.
        metrics: of the new checkpoint.
    """
    value = metrics.get("validation/elbo")
    if value is None or math.isnan(value) or (best is not None and (best.chosen or best.value >= value)):
        return best
    return Best(step, value)


def _contradiction(progress: Progress) -> str | None:
    """Return which values contradict each other."""
    if progress.best is not None and progress.best.step > progress.step:
        return "best.step is greater than step"
    for kept in progress.callbacks:
        if kept.keys() != {"callback", "state"} or not isinstance(kept["callback"], str):
            return "callbacks: not a list of names and states"
        if not isinstance(kept["state"], dict):
            return "callbacks: a state is not a table"
    return None


_ADAPTER = TypeAdapter(Progress)

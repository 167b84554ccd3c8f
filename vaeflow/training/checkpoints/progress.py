"""How far a run is, as a checkpoint keeps it."""

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
        chosen: whether a callback chose it, by a metric of its own.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Steps
    value: float
    chosen: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a run is; the position in the data follows from it.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far, over all processes that continued the run.
        window: sums of the log rows since the last log point, so that a resumed run logs the same rows.
        window_seconds: time that the window's steps took.
        metrics: the newest training and evaluation metrics by name.
        best: the best checkpoint so far; it is never removed.
        skipped: steps skipped one after another up to this one.
        callbacks: what callbacks must know after a resume, in their order.
        stopped: why a callback ended the run; empty if none did.
        evaluation_is_due: whether the run was stopped in an evaluation, which a resumed run begins with.
        changes: what has changed while the run was stopped, and may have changed its bits, in words.
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

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, place: str = "progress") -> Progress:
        """Return what `to_json` wrote.

        Args:
            text: as it was written.
            place: where it is from; errors start with it.

        Raises:
            FileError: if it is anything else.

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
    """Return the best checkpoint, where the state that was just evaluated may be one.

    The validation split decides, or a callback: figures of the test split would flatter what was chosen by them.

    Args:
        best: up to now.
        step: of the new state.
        metrics: of the new state.
    """
    value = metrics.get("validation/elbo")
    if value is None or math.isnan(value) or (best is not None and (best.chosen or best.value >= value)):
        return best
    return Best(step, value)


def _contradiction(progress: Progress) -> str | None:
    """Return which values can't be together."""
    if progress.best is not None and progress.best.step > progress.step:
        return "best.step is later than step"
    for kept in progress.callbacks:
        if kept.keys() != {"callback", "state"} or not isinstance(kept["callback"], str):
            return "callbacks: not a list of names and states"
        if not isinstance(kept["state"], dict):
            return "callbacks: a state is no table"
    return None


_ADAPTER = TypeAdapter(Progress)

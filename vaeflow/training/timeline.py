"""The length of a run, and whether anything depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.contracts import Timeline

if TYPE_CHECKING:
    from vaeflow.config.schema import Config


class RecordingTimeline(Timeline):
    """A timeline that records whether the length of the run was read."""

    length_was_read = False

    def __getattribute__(self, name: str) -> Any:
        if name == "total_steps":
            object.__setattr__(self, "length_was_read", True)
        return super().__getattribute__(name)


def timeline_of(config: Config, steps_per_epoch: int) -> RecordingTimeline:
    """Return the timeline of a config, for an epoch of so many steps."""
    total = config.steps if config.steps is not None else (config.epochs or 0) * steps_per_epoch
    return RecordingTimeline(steps_per_epoch, total)

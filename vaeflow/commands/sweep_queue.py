"""Which runs of a sweep are next: those of a grid in their order, or those that a search proposes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.commands.sweep import Point


class Queue(Protocol):
    """The runs that are left of a sweep."""

    total: int
    """The number of runs when all have ended."""

    @property
    def done(self) -> int:
        """How many have ended."""

    def take(self) -> Point | None:
        """Return the next run; None if there is none."""

    def ended(self, point: Point, *, failed: bool) -> None:
        """Learn that a run has ended."""


class Grid:
    """The runs of a grid that have not finished.

    Args:
        points: all of its runs, or some.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = list(points)
        self.total = len(self._points)
        self._waiting = [point for point in self._points if not point.finished]

    @property
    def done(self) -> int:
        """How many have ended."""
        return sum(point.finished for point in self._points)

    def take(self) -> Point | None:
        """Return the next run; None if there is none."""
        return self._waiting.pop(0) if self._waiting else None

    def ended(self, point: Point, *, failed: bool) -> None:
        """Learn nothing: what is next does not depend on it."""

"""What a run does now, besides training: the progress bar shows its name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Doing:
    """Names work between executions of steps, while it lasts.

    >>> doing = Doing()
    >>> doing.listen(print)
    >>> with doing("evaluating"):
    ...     with doing("drawing plots"):
    ...         pass
    evaluating
    drawing plots
    evaluating
    <BLANKLINE>
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call a function with each name when its work begins, and with the one before, or "", when it ends."""
        self._listeners.append(listener)

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Show what is done until the `with` statement ends.

        Args:
            what: in a few words, such as `drawing plots`.
        """
        self._names.append(what)
        self._tell()
        try:
            yield
        finally:
            self._names.pop()
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self._names[-1] if self._names else "")

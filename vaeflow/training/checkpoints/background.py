"""Saves checkpoints beside the training, which waits for no disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from vaeflow.errors import UnsavedError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress


class BackgroundSaves:
    """One save at a time in a thread of its own. A disk that refuses one does not end the training.

    Args:
        checkpoints: where they go.
        say: prints one line for people.
    """

    def __init__(self, checkpoints: CheckpointFolder, say: Callable[[str], None]) -> None:
        self._checkpoints, self._say = checkpoints, say
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: tuple[int, Future[None]] | None = None
        self._failure: str | None = None

    def save(self, arrays: dict[str, np.ndarray], progress: Progress) -> None:
        """Begin to save a state.

        Args:
            arrays: the state; nobody else changes them.
            progress: how far the run is. No save is running: `committed` was waited for.
        """
        self._running = progress.step, self._thread.submit(self._checkpoints.save, arrays, progress)

    def committed(self, *, wait: bool) -> int | None:
        """Return the step of a save that ended well since the last call, if any; one that failed is said.

        Args:
            wait: for one that is running.
        """
        if self._running is None or not (wait or self._running[1].done()):
            return None
        (step, save), self._running = self._running, None
        try:
            save.result()
        except (OSError, VaeflowError) as error:
            self._failure = f"step {step} could not be saved: {_reason(error)}"
            self._say(f"warning: {self._failure}. Earlier checkpoints are whole, and training goes on")
            return None
        self._failure = None
        return step

    def require_saved(self) -> None:
        """Check that the newest state that was to be saved is on the disk.

        Raises:
            UnsavedError: if not.
        """
        if self._failure is not None:
            raise UnsavedError(
                f"{self._failure}. Make room, then `vaeflow resume` repeats the steps since the last one"
            )

    def settle(self, seconds: float) -> None:
        """Wait some seconds for a save that is running, before the process is ended by force."""
        if self._running is not None:
            wait([self._running[1]], timeout=seconds)

    def close(self) -> None:
        """Wait for a save that is running and end the thread."""
        self._thread.shutdown(wait=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'disk'}: {error.strerror}"
    return str(error)

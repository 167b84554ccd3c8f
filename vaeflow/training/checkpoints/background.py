"""Save checkpoints in a background thread, so that training does not wait for the disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from vaeflow.errors import UnsavedError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress


class BackgroundSaves:
    """Saves one checkpoint at a time in a background thread. A failed save does not stop the training.

    Args:
        checkpoints: the folder of checkpoints.
        say: prints one line.
    """

    def __init__(self, checkpoints: CheckpointFolder, say: Callable[[str], None]) -> None:
        self._checkpoints, self._say = checkpoints, say
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: tuple[int, Future[None]] | None = None
        self._failure: str | None = None

    def save(self, arrays: dict[str, np.ndarray], progress: Progress) -> None:
        """Start to save a state. The previous save must be finished, see `committed`.

        Args:
            arrays: the state; they must not be changed afterwards.
            progress: of the run.
        """
        self._running = progress.step, self._thread.submit(self._checkpoints.save, arrays, progress)

    def committed(self, *, wait: bool) -> int | None:
        """Return the step of a save that succeeded since the last call, if any; print a warning if it failed.

        Args:
            wait: whether to wait for a running save.
        """
        if self._running is None or not (wait or self._running[1].done()):
            return None
        (step, save), self._running = self._running, None
        try:
            save.result()
        except (OSError, VaeflowError) as error:
            self._failure = f"step {step} could not be saved: {_reason(error)}"
            self._say(f"warning: {self._failure}. Earlier checkpoints are valid, and training continues")
            return None
        self._failure = None
        return step

    def require_saved(self) -> None:
        """Check that the newest save succeeded.

        Raises:
            UnsavedError: if it failed.
        """
        if self._failure is not None:
            raise UnsavedError(
                f"{self._failure}. Remove the cause, such as a full disk; `vaeflow resume` then repeats the steps "
                "since the last checkpoint"
            )

    def settle(self, seconds: float) -> None:
        """Wait some seconds for a running save, before the process is killed."""
        if self._running is not None:
            wait([self._running[1]], timeout=seconds)

    def close(self) -> None:
        """Wait for a running save and end the thread."""
        self._thread.shutdown(wait=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'disk'}: {error.strerror}"
    return str(error)

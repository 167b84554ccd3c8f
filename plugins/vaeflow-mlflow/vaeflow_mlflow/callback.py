"""The callback that logs a run to MLflow, and retries if MLflow fails."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks import Callback
from vaeflow.errors import LeavingError, MembersChangedError, PluginError, StoppedError, VaeflowError
from vaeflow_mlflow.describe import cut, kl_by_split, points_of, shown
from vaeflow_mlflow.link import Link, uri_for
from vaeflow_mlflow.settings import settings

if TYPE_CHECKING:
    from vaeflow.callbacks import Record, RunView
    from vaeflow_mlflow.describe import Point

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0  # seconds without a try after MLflow failed; each failure doubles them
LONGEST_REASON = 300


class MLflow(Callback):
    """Logs a run to MLflow.

    A failure of MLflow does not end the training. Unsent values stay in memory and are sent later; a resumed run
    sends missing values from metrics.jsonl. If values are missing at the end, the run ends as after a disk error of
    any callback: with exit code 74, and `vaeflow resume` tries again.

    Args:
        tracking: the tracking URI or a folder; None for MLflow's own setting, or `mlruns` beside the run's directory.
        experiment: the MLflow experiment.
        run_name: the run's name in MLflow; None uses the name of the run's directory.
        artifacts: whether files are stored, too.
    """

    def __init__(
        self,
        *,
        tracking: str | None = None,
        experiment: str = "vaeflow",
        run_name: str | None = None,
        artifacts: bool = True,
    ) -> None:
        self._tracking, self._experiment, self._run_name = tracking, experiment, run_name
        self._artifacts = artifacts
        self._settings = contextlib.ExitStack()
        self._link: Link | None = None
        self._waiting: list[Point] = []
        self._kl: dict[str, dict[str, Any]] = {}
        self._pause, self._quiet_until = 0.0, 0.0

    def on_start(self, run: RunView) -> None:
        """Find the MLflow run of a resumed run, or create one.

        Raises:
            PluginError: if MLflow does not support the kind of store.
        """
        self._settings.enter_context(settings())
        uri = uri_for(self._tracking, run.directory)
        self._link = Link(uri, self._experiment, self._run_name or run.directory.resolve().name)
        self._try_to_send(run)

    def on_log(self, run: RunView, record: Record) -> None:
        """Log the scalars."""
        self._add(run, record)

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Log the scalars."""
        self._add(run, record)

    def on_end(self, run: RunView) -> None:
        """Send waiting values, and the files.

        Raises:
            OSError: if MLflow fails.
        """
        try:
            self._finish(run, "FINISHED", "")
        except Exception as error:
            raise OSError(errno.EIO, reason_of(error), "MLflow") from error

    def on_exception(self, run: RunView, error: BaseException) -> None:
        """Send waiting values, and the status of the run."""
        self._finish(run, *ending(error))

    def _add(self, run: RunView, record: Record) -> None:
        self._waiting += points_of(record)
        self._kl |= kl_by_split(record)
        if time.monotonic() >= self._quiet_until:
            self._try_to_send(run)

    def _try_to_send(self, run: RunView) -> None:
        try:
            self._send(run)
        except PluginError:
            raise
        except Exception as error:  # noqa: BLE001  # no error of MLflow may end the training
            self._wait(run, error)
        else:
            if self._pause:
                run.say("MLflow is available again: missing data were sent")
            self._pause = 0.0

    def _wait(self, run: RunView, error: Exception) -> None:
        if not self._pause:
            run.say(f"warning: MLflow failed ({reason_of(error)}); training continues, and missing data are sent later")
        self._pause = min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
        self._quiet_until = time.monotonic() + self._pause

    def _send(self, run: RunView) -> Link:
        if self._link is None:
            raise RuntimeError("MLflow.on_start must be called before its first record")
        self._link.send(run, self._waiting)
        self._waiting.clear()
        return self._link

    def _finish(self, run: RunView, status: str, note: str) -> None:
        """Send waiting values, then the status if the run has ended, and its files."""
        with self._settings, settings():  # again: an error may come after the end
            if self._link is None:
                return
            link = self._send(run)
            if status:
                link.end(run, status, note)
            if status and self._artifacts:
                link.keep_files(run, self._kl)


def ending(error: BaseException) -> tuple[str, str]:
    """Return MLflow's status of a run that ended, and the reason; no status if an elastic job continues without it."""
    if isinstance(error, (MembersChangedError, LeavingError)):
        return "", ""
    if isinstance(error, StoppedError):
        return "KILLED", str(error)
    if isinstance(error, KeyboardInterrupt):
        return "KILLED", "interrupted; `vaeflow resume` continues from the newest checkpoint"
    return "FAILED", str(error) if isinstance(error, VaeflowError) else f"{type(error).__name__}: {error}"


def reason_of(error: BaseException) -> str:
    """Return an error as one short line without passwords."""
    return cut(shown(" ".join(f"{error}".split()) or type(error).__name__), LONGEST_REASON)

"""Log a run's metrics as JSON lines."""

from __future__ import annotations

import json
import math
import os
from typing import IO, TYPE_CHECKING

from vaeflow.callbacks.base import Callback
from vaeflow.files.json_lines import read_rows
from vaeflow.files.write import written_aside
from vaeflow.plots import METRICS

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.callbacks.base import Record, RunView


class MetricsLog(Callback):
    """Appends a row to `metrics.jsonl` at every log entry and every evaluation.

    A row is one JSON object: `step`, `epoch`, and the scalars by name. NaN and infinity are written as
    null. Rows are written without buffering, so that rows before a checkpoint survive a kill.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._waiting = b""

    def on_start(self, run: RunView) -> None:
        """Open the file; a resumed run first drops later rows, which it will write again, and lines that are not rows.

        Raises:
            FileError: if it is not a regular file.
            OSError: if reading or writing fails.
        """
        path = run.directory / METRICS
        if run.first_step and not path.exists():
            run.say(f"warning: {path} is missing: the log up to step {run.first_step} is lost; the run resumes")
        dropped = keep_rows(path, run.first_step)
        if dropped:
            run.say(f"warning: {path}: {dropped} line{'s' if dropped > 1 else ''} could not be read and were dropped")
        self._file = path.open("ab", buffering=0)

    def on_log(self, run: RunView, record: Record) -> None:  # noqa: ARG002
        """Append a row."""
        self._append(record)

    def on_evaluation(self, run: RunView, record: Record) -> None:  # noqa: ARG002
        """Append a row."""
        self._append(record)

    def on_end(self, run: RunView) -> None:  # noqa: ARG002
        """Close the file."""
        self._close()

    def on_exception(self, run: RunView, error: BaseException) -> None:  # noqa: ARG002
        """Close the file."""
        self._close()

    def _append(self, record: Record) -> None:
        if self._file is None:
            raise RuntimeError("MetricsLog.on_start must be called before its first row")
        scalars = {name: _number(value) for name, value in record.scalars.items()}
        row = {"step": record.step, "epoch": record.epoch, **scalars}
        self._waiting += json.dumps(row, allow_nan=False).encode() + b"\n"
        self._write(self._file)

    def _write(self, file: IO[bytes]) -> None:
        """Write waiting rows completely or not at all; rows that failed on a full disk are written with the next."""
        size = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(self._waiting)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            file.truncate(size)
            raise OSError(error.errno, error.strerror, file.name) from error
        self._waiting = b""

    def _close(self) -> None:
        if self._file is not None:
            with self._file as file:
                self._file = None
                if self._waiting:
                    self._write(file)


def keep_rows(path: Path, step: int) -> int:
    """Keep only the rows of a metrics file up to a step; step 0 drops all rows.

    Args:
        path: the file; created if it is missing.
        step: optimizer steps of the checkpoint that a run is resumed from.

    Returns:
        The number of lines that were dropped because they are not rows: the last one, if a machine died while writing.
    """
    dropped = 0
    with written_aside(path) as aside, aside.open("wb") as kept:
        for line, row in read_rows(path) if step and path.exists() else ():
            dropped += row is None
            if row is not None and row["step"] <= step:
                kept.write(line + b"\n")
    return dropped


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

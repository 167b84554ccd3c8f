"""A run's metrics as JSON lines."""

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
    """Appends a row to `metrics.jsonl` at every log point and every evaluation.

    A row is one JSON object: `step`, `epoch`, and the scalars by TensorBoard's names. JSON has no NaN and no infinity:
    both are null. Each row reaches the system as it is written, so what a checkpoint follows outlives a kill.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._waiting = b""

    def on_start(self, run: RunView) -> None:
        """Open the file; a resumed run first drops the rows that it is about to write again, and what is no row.

        Raises:
            FileError: if there is something else than a regular file.
            OSError: if the disk refuses.
        """
        path = run.directory / METRICS
        if run.first_step and not path.exists():
            run.say(f"warning: {path} is missing: the log up to step {run.first_step} is lost; the run is resumed")
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
            raise RuntimeError("MetricsLog.on_start comes before its first row")
        scalars = {name: _number(value) for name, value in record.scalars.items()}
        row = {"step": record.step, "epoch": record.epoch, **scalars}
        self._waiting += json.dumps(row, allow_nan=False).encode() + b"\n"
        self._write(self._file)

    def _write(self, file: IO[bytes]) -> None:
        """Write what waits, whole or not at all: rows that a full disk refused come with the next."""
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
    """Take a metrics file back to a step: its rows up to it and with it stay; none for step 0, where a run begins anew.

    Args:
        path: the file; made if need be.
        step: optimizer steps of the checkpoint that a run is resumed from.

    Returns:
        How many lines were dropped because they are no rows: the last one, if a machine died while it was written.
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

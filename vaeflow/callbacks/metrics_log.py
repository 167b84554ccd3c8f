"""A run's metrics as JSON lines."""

from __future__ import annotations

import json
import math
import os
from typing import IO, TYPE_CHECKING

from vaeflow.callbacks.base import Callback
from vaeflow.plots import METRICS
from vaeflow.run_directory import write_atomically

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
        """Open the file; a resumed run first drops the rows that it is about to write again.

        Raises:
            OSError: if the disk refuses.
        """
        path = run.directory / METRICS
        kept = rows_until(path, run.first_step) if path.exists() else []
        write_atomically(path, "".join(f"{row}\n" for row in kept))
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


def rows_until(path: Path, step: int) -> list[str]:
    """Return the lines of a metrics file up to a step and with it; none for step 0, where a run begins anew.

    A line that is no JSON object (the last one, if a machine died while it was written) is dropped.

    Args:
        path: the file.
        step: optimizer steps of the checkpoint that a run goes on from.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if 0 <= _step_of(line) <= step] if step else []


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

"""Truncate event files to the step from which a run is resumed."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING

import tensorflow as tf
from google.protobuf.message import DecodeError

from vaeflow.files.write import written_aside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENT_FILES = "events.out.tfevents.*"
FRAME = 16  # bytes of a record's length and checksums


def drop_after(folder: Path, step: int) -> list[str]:
    """Drop entries after a step, and partial entries of a killed process.

    Otherwise some of TensorBoard's readers would show both the entries before a kill and those that are logged again.

    Args:
        folder: where the event files are.
        step: of the checkpoint that a run is resumed from; 0 drops all entries.

    Returns:
        Per file, a text about bytes that could not be read and were dropped.

    Raises:
        OSError: if reading or writing fails.
    """
    lost = []
    for path in sorted(folder.glob(EVENT_FILES)):
        if step == 0:
            path.unlink()
        elif unread := _rewrite(path, step):
            lost.append(f"{path}: the last {unread} bytes could not be read and were dropped")
    return lost


def _rewrite(path: Path, step: int) -> int:
    """Rewrite a file; return how many bytes at its end could not be read."""
    unread = path.stat().st_size
    with written_aside(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for record in _complete_records(path):
            unread -= len(record) + FRAME
            if _step_of(record) <= step:
                writer.write(record)
    return unread


def _complete_records(path: Path) -> Iterator[bytes]:
    with tempfile.NamedTemporaryFile() as copy:
        # TensorFlow allocates as many bytes as a record's header states, so invalid headers are removed first.
        copy.write(path.read_bytes()[: _framed(path)])
        copy.flush()
        try:
            yield from tf.data.TFRecordDataset(copy.name).as_numpy_iterator()
        except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
            return  # the rest of the file was being written when its process was killed


def _framed(path: Path) -> int:
    """Return how many bytes of a file are complete records."""
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while end + FRAME <= size:
            file.seek(end)
            end += FRAME + int.from_bytes(file.read(8), "little")
            if end > size:
                return file.tell() - 8
    return end


def _step_of(record: bytes) -> float:
    try:
        return int(tf.compat.v1.Event.FromString(record).step)
    except DecodeError:  # not TensorBoard's
        return math.inf

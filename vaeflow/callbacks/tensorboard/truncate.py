"""Takes event files back to the step that a run goes on from."""

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
    """Drop what was logged after a step, and what a killed process left half written.

    Some of TensorBoard's readers would show both, what was logged before a kill and what is logged again.

    Args:
        folder: where the event files are.
        step: of the checkpoint that a run is resumed from; 0, where a run begins anew, drops all.

    Returns:
        What could not be read and was dropped, a file in words each.

    Raises:
        OSError: if the disk refuses.
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
        for record in _whole_records(path):
            unread -= len(record) + FRAME
            if _step_of(record) <= step:
                writer.write(record)
    return unread


def _whole_records(path: Path) -> Iterator[bytes]:
    with tempfile.NamedTemporaryFile() as copy:
        # TensorFlow makes room for as many bytes as a record claims to have: what claims too many is not handed to it.
        copy.write(path.read_bytes()[: _framed(path)])
        copy.flush()
        try:
            yield from tf.data.TFRecordDataset(copy.name).as_numpy_iterator()
        except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
            return  # the rest of the file was being written when its process was killed


def _framed(path: Path) -> int:
    """Return how many bytes of a file are records as long as they claim to be."""
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

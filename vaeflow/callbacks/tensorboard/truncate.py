"""Takes event files back to the step that a run goes on from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf
from google.protobuf.message import DecodeError

from vaeflow.partials import written_aside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENT_FILES = "events.out.tfevents.*"


def drop_after(folder: Path, step: int) -> None:
    """Drop what was logged after a step, and what a killed process left half written.

    Some of TensorBoard's readers would show both, what was logged before a kill and what is logged again.

    Args:
        folder: where the event files are.
        step: of the checkpoint that a run goes on from; 0, where a run begins anew, drops all.

    Raises:
        OSError: if the disk refuses.
    """
    for path in sorted(folder.glob(EVENT_FILES)):
        if step == 0:
            path.unlink()
        else:
            _rewrite(path, step)


def _rewrite(path: Path, step: int) -> None:
    with written_aside(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for record in _whole_records(path):
            if _step_of(record) <= step:
                writer.write(record)


def _whole_records(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError):
        return  # the rest of the file was being written when its process was killed


def _step_of(record: bytes) -> float:
    try:
        return int(tf.compat.v1.Event.FromString(record).step)
    except DecodeError:  # not TensorBoard's
        return math.inf

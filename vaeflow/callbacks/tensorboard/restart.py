"""Tells TensorBoard that a run goes on from an earlier step than its event files reach."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "events.out.tfevents"


def mark_restart(folder: Path, step: int) -> None:
    """Write that what was logged at `step` and later is void, if anything was logged.

    Call it before the new writer is made: TensorBoard reads event files in the order of their names, and this one's has
    nothing after the second, so it comes before a writer's of the same second.

    Args:
        folder: where the event files are.
        step: the first one that will be logged anew.
    """
    if not any(folder.glob(f"{PREFIX}.*")):
        return
    now = time.time()
    version = tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2")
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    restart = tf.compat.v1.Event(wall_time=now, step=step, session_log=start)
    with tf.io.TFRecordWriter(str(folder / f"{PREFIX}.{int(now):010d}")) as writer:
        writer.write(version.SerializeToString())
        writer.write(restart.SerializeToString())

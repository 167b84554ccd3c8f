"""What `vaeflow evaluate` found, for TensorBoard: beside the run's own logs, with the same names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.callbacks.tensorboard import scalars as of_scalars
from vaeflow.callbacks.tensorboard.callback import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write_evaluation(
    run_dir: Path, name: str, scalars: Mapping[str, float], pictures: Sequence[Path], step: int
) -> None:
    """Write scalars and pictures, in place of those of an earlier evaluation; nothing if the run has no such logs.

    Args:
        run_dir: the run's directory.
        name: of the evaluation; TensorBoard shows it as a run of its own, `tensorboard/NAME`.
        scalars: by name.
        pictures: PNG files, shown as `images/plots/NAME`.
        step: optimizer steps taken.
    """
    folder = run_dir / FOLDER
    if not folder.is_dir():
        return
    own = folder / name
    shutil.rmtree(own, ignore_errors=True)
    with tf.summary.create_file_writer(str(own)).as_default() as writer:
        of_scalars.write_scalars(scalars, step)
        for path in pictures:
            tf.summary.image(f"images/plots/{path.stem}", tf.io.decode_png(path.read_bytes(), channels=3)[None], step)
        writer.close()

"""The hyperparameters of a run, so that TensorBoard can compare runs.

There is no list of all hyperparameters or metrics: TensorBoard would take that of one run for all. Without it, the page
has a column for each hyperparameter of any run, and shows the first five scalars by name, see `scalars.ON_TOP`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf
from tensorboard.plugins.hparams import api, api_pb2, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.config.hyperparameters import Leaf


def write_start(values: Mapping[str, Leaf], directory: str) -> None:
    """Write the hyperparameters of a new run.

    Args:
        values: by dotted key, see `vaeflow.config.hyperparameters`.
        directory: of the run, which identifies it.
    """
    api.hparams(dict(values), trial_id=directory)


def write_success() -> None:
    """Write that the run has finished."""
    end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
    tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)

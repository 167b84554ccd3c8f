"""The config as hyperparameters, so that TensorBoard can compare runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorboard.plugins.hparams import api, api_pb2, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.config.schema import Config

Leaf = bool | int | float | str


def leaves(config: Config) -> dict[str, Leaf]:
    """Return every value of a config by its dotted key; values that are not numbers or texts are written as JSON."""
    return dict(_leaves("", config.model_dump()))


def write_start(config: Config, directory: str) -> None:
    """Write the hyperparameters of a new run.

    Args:
        config: the resolved config.
        directory: of the run, which identifies it.
    """
    api.hparams(leaves(config), trial_id=directory)


def write_success() -> None:
    """Write that the run has finished."""
    end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
    tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Leaf]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        elif isinstance(value, Leaf):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", "none" if value is None else json.dumps(value, default=str)

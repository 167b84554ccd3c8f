"""The posterior's means of all examples of a split."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.model.blocks import BLOCK

if TYPE_CHECKING:
    from vaeflow.training.experiment import Experiment


def means_of(experiment: Experiment, split: str) -> dict[str, np.ndarray]:
    """Return the means of q(z given x) by group, [N, *shape] float32, in the order the examples are stored.

    All processes of a job call this, and have the result. Replicas share the examples, which changes no bit.

    Args:
        experiment: with the weights.
        split: `train`, `validation` or `test`.

    Raises:
        UsageError: if there is no such split.
    """
    of_split = experiment.whole_split(split, rows=BLOCK)
    groups = experiment.model.latents
    sizes = [math.prod(group.shape) for group in groups]

    def rows(first: tf.Tensor) -> tf.Tensor:
        batch = of_split.batch(first)
        means = experiment.model.encode(batch.x, labels=batch.labels)
        return tf.concat([tf.reshape(means[group.name], (BLOCK, -1)) for group in groups], axis=1)

    table = of_split.table("means", rows, sum(sizes)).astype(np.float32)
    parts = np.split(table, np.cumsum(sizes)[:-1], axis=1)
    return {group.name: part.reshape((-1, *group.shape)) for group, part in zip(groups, parts, strict=True)}

"""Precision and recall of samples in a space of features (Kynkäänniemi et al. 2019).

A point is in a set's manifold if its distance from one point of the set is at most that point's distance from its k-th
nearest neighbour within the set. Precision is the share of samples in the manifold of the examples, recall the share of
examples in that of the samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.contracts import Findings
from vaeflow.errors import UsageError
from vaeflow.model.latents import generation_noise_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import WholeSplit

OWN = "the means of this run's own encoder"
BLOCK = 2**23  # distances in memory at a time: 64 MiB


class PrecisionRecall:
    """The shares, each from 0 to 1.

    Args:
        neighbours: k.
        examples: of the split, the first ones, and as many samples, at most.
        expected: compare expected values of samples, as pictures show them, instead of draws from p(x given z).
    """

    whole_split = True

    def __init__(self, neighbours: int, examples: int, *, expected: bool) -> None:
        self._neighbours, self._examples, self._expected = neighbours, examples, expected

    def __call__(self, split: WholeSplit) -> Findings:
        """Return precision and recall.

        Raises:
            UsageError: if there are too few examples, or the feature network does not fit the examples.
        """
        count = min(self._examples, split.examples)
        if count <= self._neighbours:
            raise UsageError(f"metric 'precision-recall': {self._neighbours} neighbours of {count} examples")
        width = _width(split)

        def real(first: tf.Tensor) -> tf.Tensor:
            batch = split.batch(first)
            return _features(split, batch.x, batch.labels)

        def generated(first: tf.Tensor) -> tf.Tensor:
            labels = split.batch(first).labels
            return _features(split, self._samples(split, first, labels), labels)

        precision, recall = precision_recall(
            split.table("precision-recall/real", real, width, count),
            split.table("precision-recall/generated", generated, width, count),
            self._neighbours,
        )
        about = {
            "features": split.features.name if split.features else OWN,
            "features_width": width,
            "examples": count,
            "neighbours": self._neighbours,
            "samples": "expected values" if self._expected else "draws from p(x given z)",
        }
        return Findings({"precision": precision, "recall": recall}, about=about)

    def _samples(self, split: WholeSplit, first: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        noise = split.normal("precision-recall/z", first, generation_noise_size(split.model.latents))
        p_x = split.model.generate(noise, labels=labels)
        if self._expected:
            return p_x.mean()
        shape = split.model.x_shape
        uniform = split.uniform("precision-recall/x", first, math.prod(shape))
        return p_x.sample(tf.reshape(uniform, (split.rows, *shape)))


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int) -> tuple[float, float]:
    """Return precision and recall of features [N, F] and [M, F].

    Args:
        real: of examples.
        generated: of samples.
        neighbours: k, smaller than N and M.
    """
    return _share_inside(generated, real, neighbours), _share_inside(real, generated, neighbours)


def _share_inside(points: np.ndarray, of_set: np.ndarray, neighbours: int) -> float:
    """Return the share of points in the manifold of a set."""
    radii = np.concatenate(
        [np.partition(block, neighbours, axis=1)[:, neighbours] for block in _squared_distances(of_set, of_set)]
    )
    inside = [np.any(block <= radii, axis=1) for block in _squared_distances(points, of_set)]
    return float(np.concatenate(inside).mean())


def _squared_distances(points: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield squared distances of some points from all others; those of a point from itself are exactly 0."""
    lengths = np.square(others).sum(1)
    rows = max(1, BLOCK // len(others))
    for first in range(0, len(points), rows):
        block = points[first : first + rows]
        found = np.square(block).sum(1)[:, None] + lengths - 2.0 * block @ others.T
        found = np.maximum(found, 0.0)
        if points is others:
            found[np.arange(len(block)), first + np.arange(len(block))] = 0.0
        yield found


def _features(split: WholeSplit, x: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    if split.features is not None:
        return _flat(split.features.compute(x))
    return tf.concat([_flat(mean) for mean in split.model.encode(x, labels=labels).values()], axis=1)


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(values, tf.float32), (values.shape[0], -1))


def _width(split: WholeSplit) -> int:
    """Return F.

    Raises:
        UsageError: if the network can't be called with examples, or returns something else.
    """
    features = split.features
    if features is None:
        return sum(math.prod(group.shape) for group in split.model.latents)
    try:
        found = tf.convert_to_tensor(features.compute(tf.zeros((split.rows, *split.model.x_shape))))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{features.name} can't take x {[split.rows, *split.model.x_shape]}: {type(error).__name__}: {reason}"
        ) from error
    if found.shape.rank < 2 or found.shape[0] != split.rows:
        raise UsageError(f"{features.name} returns the shape {found.shape.as_list()}, not [{split.rows}, F]")
    return math.prod(found.shape[1:])

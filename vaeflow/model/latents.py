"""Groups of latents: the noise of each, and the label beside an array."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import LatentGroup, LatentVariableModel


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names of groups and players."""


def noise_size(latents: Sequence[LatentGroup]) -> int:
    """Return the standard normal numbers per sample and example that the posteriors of all groups need."""
    return sum(group.noise_size for group in latents)


def generation_noise_size(latents: Sequence[LatentGroup]) -> int:
    """Return the standard normal numbers per sample that the priors of all groups need."""
    return sum(group.generation_noise_size for group in latents)


def split_noise(noise: tf.Tensor, latents: Sequence[LatentGroup], *, generating: bool = False) -> dict[str, tf.Tensor]:
    """Return each group's own noise, [..., its size], by the group's name.

    Args:
        noise: of all groups, [..., N].
        latents: the groups, in their order.
        generating: whether the noise is for the priors, else for the posteriors.
    """
    sizes = [group.generation_noise_size if generating else group.noise_size for group in latents]
    if len(sizes) == 1:
        return {latents[0].name: noise}
    return {group.name: part for group, part in zip(latents, tf.split(noise, sizes, axis=-1), strict=True)}


def zero_inputs(
    model: LatentVariableModel, *, rows: int, samples: int = 1, classes: int = 0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Return x of zeros, noise of zeros and labels of class 0, to call a model once before it is used.

    Args:
        model: has `x_shape` and `latents`.
        rows: B.
        samples: L.
        classes: C; 0 if the model gets no labels.
    """
    labels = tf.one_hot(tf.zeros((rows,), tf.int32), classes) if classes else None
    return tf.zeros((rows, *model.x_shape)), tf.zeros((samples, rows, noise_size(model.latents))), labels


def beside_labels(values: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    """Return values with the labels appended along the last axis.

    Args:
        values: [..., B, D].
        labels: one-hot, [B, C], or another shape that is broadcast to it; None returns the values unchanged.
    """
    if labels is None:
        return values
    classes = labels.shape[-1]
    repeated = tf.broadcast_to(labels, tf.concat([tf.shape(values)[:-1], [classes]], axis=0))
    return tf.concat([values, tf.ensure_shape(repeated, values.shape[:-1].concatenate(classes))], axis=-1)


def maps_of(labels: tf.Tensor | None, rank: int) -> tf.Tensor | None:
    """Return labels [B, C] as [B, 1, ..., C] with as many axes as x: constant maps, once they are broadcast."""
    if labels is None:
        return None
    return tf.reshape(labels, (-1, *(1,) * (rank - 2), labels.shape[-1]))

"""Check what is given to a Keras model of a run: one line instead of an error from inside a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import LatentGroup

Labels = Any
"""The class of each example, [B] integers; None if the model is not conditional."""


def checked(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return float32 values [B, *shape].

    Raises:
        UsageError: if they have another shape, or are integers.
    """
    if not _is_tensor(values):
        values = np.asarray(values)
    given = tuple(values.shape)
    if given[1:] != tuple(shape) or not given:
        raise UsageError(f"{name} has shape {given}, but this model takes [B, {', '.join(map(str, shape))}]")
    if not tf.as_dtype(values.dtype).is_floating:
        raise UsageError(
            f"{name} is {tf.as_dtype(values.dtype).name}, but this model takes floats, as run.examples and run.prepare "
            "return them"
        )
    return values if isinstance(values, keras.KerasTensor) else tf.cast(values, tf.float32)


def checked_labels(labels: Labels, classes: int) -> Any:
    """Return labels [B] int64, or None for a model that is not conditional.

    Raises:
        UsageError: if they are missing, left over, no whole numbers, or not among the classes.
    """
    if not classes:
        if labels is not None:
            raise UsageError("this model takes no labels; train with condition.labels=true")
        return None
    if labels is None:
        raise UsageError(f"this model is conditional: give the label of each example, 0 to {classes - 1}, as labels")
    if isinstance(labels, keras.KerasTensor) or (tf.is_tensor(labels) and not tf.executing_eagerly()):
        return labels
    given = np.asarray(labels)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise UsageError(f"labels have shape {given.shape} and type {given.dtype}; give one whole number per example")
    wrong = given[(given < 0) | (given >= classes)]
    if len(wrong):
        raise UsageError(f"label {wrong[0]} is not one of the {classes} classes 0 to {classes - 1}")
    return tf.constant(given, tf.int64)


def by_group(z: Any, latents: Sequence[LatentGroup]) -> dict[str, Any]:
    """Return latents by group.

    Raises:
        UsageError: if a group is missing or unknown, or has another shape.
    """
    names = [group.name for group in latents]
    if not isinstance(z, Mapping):
        if len(names) > 1:
            raise UsageError(f"this model has several groups of latents: give z as a dict of {', '.join(names)}")
        z = {names[0]: z}
    if set(z) != set(names):
        raise UsageError(f"z has the groups {', '.join(map(str, z))}, but this model has {', '.join(names)}")
    several = len(names) > 1
    return {one.name: checked(z[one.name], one.shape, f"z[{one.name!r}]" if several else "z") for one in latents}


def unpacked(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """Return x and labels, which may come as one dict: `predict` takes one argument.

    Raises:
        UsageError: if the dict has other keys.
    """
    if not isinstance(x, Mapping):
        return x, labels
    if not {"x"} <= set(x) <= {"x", "labels"}:
        raise UsageError(f"a dict of inputs has the keys x and labels, not {', '.join(map(str, x))}")
    return x["x"], x.get("labels", labels)


def _is_tensor(values: Any) -> bool:
    return isinstance(values, keras.KerasTensor) or tf.is_tensor(values)

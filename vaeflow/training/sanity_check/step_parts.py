"""Call transforms, metrics and objectives on examples of zeros, and check the results."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import PluginError, nearest
from vaeflow.model.modes import in_mode
from vaeflow.training.sanity_check.hidden_variables import hidden_variables, require_none
from vaeflow.training.sanity_check.returned import computed, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaeflow.contracts import Metric, Objective, Schedule, Transform
    from vaeflow.model.vae import VAE
    from vaeflow.plugins.registered import Bound

NOISES = ("none", "step", "example")
TRIED = 3  # number of examples


def try_transform(bound: Bound, transform: Transform, given: tuple[int, ...]) -> None:
    """Check a transform.

    Args:
        bound: the component.
        transform: the object that it built.
        given: X of the examples.

    Raises:
        PluginError: if it fails, or its result does not match its `x_shape`.
    """
    if transform.noise not in NOISES:
        raise PluginError(f"{bound.registered.label} has noise {transform.noise!r}; {nearest(transform.noise, NOISES)}")
    noise = None if transform.noise == "none" else tf.fill((TRIED, transform.noise_size), 0.5)
    _try(bound, lambda: transform(tf.zeros((TRIED, *given)), noise), tuple(transform.x_shape))


def try_metrics(bounds: Sequence[Bound], metrics: Mapping[str, Metric], model: VAE) -> None:
    """Check metrics.

    Args:
        bounds: the components.
        metrics: the objects that they built, by name.
        model: the autoencoder.

    Raises:
        PluginError: if one fails, or does not return [B] float32.
    """
    if not bounds:
        return
    x = tf.zeros((TRIED, *model.x_shape))
    terms = model.terms(x, tf.zeros((TRIED - 1, TRIED, model.posterior.noise_size)))
    for bound in bounds:
        _try(bound, partial(metrics[bound.name], x, terms), ())


def try_objective(bound: Bound, objective: Objective, schedule: Schedule, model: VAE) -> None:
    """Check an objective.

    Args:
        bound: the component.
        objective: the object that it built.
        schedule: the weight of the KL divergence.
        model: the autoencoder.

    Raises:
        PluginError: if it fails, does not return [B] float32, or has trainable variables.
    """
    noise = tf.zeros((objective.samples, TRIED, model.posterior.noise_size))
    terms = model.terms(tf.zeros((TRIED, *model.x_shape)), noise)
    with tf.GradientTape() as tape:
        at = tf.constant(0, tf.int64)
        _try(bound, lambda: in_mode(lambda: objective.loss(terms, schedule, at), training=False), ())
    require_none(hidden_variables(model, tape.watched_variables()), bound.registered.label)


def _try(bound: Bound, compute: Callable[[], tf.Tensor], shape: tuple[int, ...]) -> None:
    """Call a component on examples of zeros and check the type and shape of the result."""
    label, wanted = bound.registered.label, f"float32{(TRIED, *shape)}"
    values = computed(label, f"{TRIED} examples of zeros", compute)
    returned = f"{values.dtype.name}{tuple(values.shape)}" if tf.is_tensor(values) else described(values)
    if returned != wanted:
        raise PluginError(f"{label} returned {returned} for {TRIED} examples, expected {wanted}")

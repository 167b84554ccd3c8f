"""Transforms, metrics and objectives tried on examples of zeros."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import PluginError, nearest
from vaeflow.model.modes import in_mode
from vaeflow.training.sanity_check.hidden_variables import require_none, strays
from vaeflow.training.sanity_check.returned import computed, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaeflow.contracts import Metric, Objective, Schedule, Transform
    from vaeflow.model.vae import VAE
    from vaeflow.plugins.registered import Bound

NOISES = ("none", "step", "example")
TRIED = 3  # examples that a plugin's transform or metric is tried with


def try_transform(bound: Bound, transform: Transform, given: tuple[int, ...]) -> None:
    """Transform examples.

    Args:
        bound: the component.
        transform: what it built.
        given: X of the examples.

    Raises:
        PluginError: if it fails, or returns something else than it says.
    """
    if transform.noise not in NOISES:
        raise PluginError(
            f"{bound.registered.label} takes noise {transform.noise!r}; {nearest(transform.noise, NOISES)}"
        )
    noise = None if transform.noise == "none" else tf.fill((TRIED, transform.noise_size), 0.5)
    _try(bound, lambda: transform(tf.zeros((TRIED, *given)), noise), tuple(transform.x_shape))


def try_metrics(bounds: Sequence[Bound], metrics: Mapping[str, Metric], model: VAE) -> None:
    """Compute metrics of examples.

    Args:
        bounds: the components.
        metrics: what they built, by name.
        model: the autoencoder.

    Raises:
        PluginError: if one fails, or returns something else than [B] float32.
    """
    if not bounds:
        return
    x = tf.zeros((TRIED, *model.x_shape))
    terms = model.terms(x, tf.zeros((TRIED - 1, TRIED, model.posterior.noise_size)))
    for bound in bounds:
        _try(bound, partial(metrics[bound.name], x, terms), ())


def try_objective(bound: Bound, objective: Objective, schedule: Schedule, model: VAE) -> None:
    """Compute the loss of examples.

    Args:
        bound: the component.
        objective: what it built.
        schedule: how the divergence enters the loss.
        model: the autoencoder.

    Raises:
        PluginError: if it fails, returns something else than [B] float32, or has trainable variables.
    """
    noise = tf.zeros((objective.samples, TRIED, model.posterior.noise_size))
    terms = model.terms(tf.zeros((TRIED, *model.x_shape)), noise)
    with tf.GradientTape() as tape:
        at = tf.constant(0, tf.int64)
        _try(bound, lambda: in_mode(lambda: objective.loss(terms, schedule, at), training=False), ())
    require_none(strays(model, tape.watched_variables()), bound.registered.label)


def _try(bound: Bound, compute: Callable[[], tf.Tensor], shape: tuple[int, ...]) -> None:
    """Compute something of examples of zeros, before the disk is touched: in a graph, errors are long and come late."""
    label, wanted = bound.registered.label, f"float32{(TRIED, *shape)}"
    values = computed(label, f"{TRIED} examples of zeros", compute)
    returned = f"{values.dtype.name}{tuple(values.shape)}" if tf.is_tensor(values) else described(values)
    if returned != wanted:
        raise PluginError(f"{label} returned {returned} for {TRIED} examples, not {wanted}")

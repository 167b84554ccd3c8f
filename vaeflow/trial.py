"""Components tried on examples of zeros before the disk is touched: in a graph, errors are long and come late."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vaeflow.errors import PluginError, UsageError, VaeflowError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vaeflow.config_resolve import Resolved
    from vaeflow.contracts import Metric, Objective, Schedule, Transform
    from vaeflow.model import VAE
    from vaeflow.plugins.registered import Bound

NOISES = ("none", "step", "example")
TRIED = 3  # examples that a plugin's transform or metric is tried with


def try_model(resolved: Resolved, model: VAE) -> None:
    """Compute the bound of one example, which makes the variables of layers that wait for their input's shape.

    Raises:
        UsageError: if the decoder's output is not what the likelihood takes.
        PluginError: if components cannot compute with each other's outputs, or one hides variables from the model.
    """
    try:
        _require_fitting_decoder(resolved, model)
        with tf.GradientTape() as tape:
            model.terms(tf.zeros((1, *model.x_shape)), tf.zeros((1, 1, model.posterior.noise_size)))
    except VaeflowError:
        raise
    except Exception as error:
        labels = ", ".join(bound.registered.label for bound, _ in _parts(resolved, model))
        raise PluginError(f"these don't fit each other: {labels}: {type(error).__name__}: {error}") from error
    strays = _strays(model, tape.watched_variables())
    holders = [bound for bound, part in _parts(resolved, model) if _holds(part, strays)]
    _require_none(strays, holders[0].registered.label if holders else "a component")


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
        _try(bound, lambda: objective.loss(terms, schedule, tf.constant(0, tf.int64)), ())
    _require_none(_strays(model, tape.watched_variables()), bound.registered.label)


def _require_fitting_decoder(resolved: Resolved, model: VAE) -> None:
    given = tuple(model.decoder(tf.zeros((1, model.latent_size))).shape[1:])
    wanted = tuple(model.likelihood.parameters_shape)
    if given != wanted:
        raise UsageError(
            f"decoder {resolved.decoder.name!r} puts out {given}, but likelihood {resolved.likelihood.name!r} takes "
            f"{wanted} for examples of shape {model.x_shape}"
        )


def _strays(model: VAE, used: tuple[tf.Variable, ...]) -> list[tf.Variable]:
    """Return trainable variables that are used, but hidden from the model."""
    strategy = tf.distribute.get_strategy()
    values = [variable.value for variable in model.variables]
    known = {id(one) for value in values for one in (value, *strategy.experimental_local_results(value))}
    return [variable for variable in used if id(variable) not in known]


def _require_none(strays: list[tf.Variable], whose: str) -> None:
    if strays:
        name, shape = strays[0].name, tuple(strays[0].shape)
        raise PluginError(
            f"{whose} uses variable {name!r} of shape {shape}, which is in no Keras layer of the model: it would be "
            "neither trained nor saved; what holds it must be a posterior, prior, likelihood or network that is a "
            "keras.layers.Layer"
        )


def _holds(part: object, variables: list[tf.Variable]) -> bool:
    """Say whether an object has one of some variables as an attribute, or a Keras variable around it."""
    attributes = getattr(part, "__dict__", {}).values()
    held = {id(one.value if isinstance(one, keras.Variable) else one) for one in attributes}
    return any(id(variable) in held for variable in variables)


def _parts(resolved: Resolved, model: VAE) -> Iterator[tuple[Bound, object]]:
    yield resolved.encoder, model.encoder
    yield resolved.posterior, model.posterior
    yield resolved.prior, model.prior
    yield resolved.decoder, model.decoder
    yield resolved.likelihood, model.likelihood


def _try(bound: Bound, compute: Callable[[], tf.Tensor], shape: tuple[int, ...]) -> None:
    """Compute something of examples of zeros, before the disk is touched: in a graph, errors are long and come late."""
    label, wanted = bound.registered.label, f"float32{(TRIED, *shape)}"
    try:
        values = compute()
        returned = f"{values.dtype.name}{tuple(values.shape)}"
    except VaeflowError:
        raise
    except Exception as error:
        raise PluginError(f"{label} failed on {TRIED} examples of zeros: {type(error).__name__}: {error}") from error
    if returned != wanted:
        raise PluginError(f"{label} returned {returned} for {TRIED} examples, not {wanted}")

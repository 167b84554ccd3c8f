"""Call transforms, metrics and objectives on examples of zeros, and check the results."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.contracts import Player
from vaeflow.data.batches import Batch
from vaeflow.engine.forward import forward, path_of
from vaeflow.engine.players import NO_PLAYERS, players_of, require_players
from vaeflow.engine.whole_split import by_kind
from vaeflow.errors import PluginError, UsageError, nearest
from vaeflow.model.latents import zero_inputs
from vaeflow.model.modes import in_mode
from vaeflow.training.sanity_check.hidden_variables import hidden_variables, require_none
from vaeflow.training.sanity_check.returned import computed, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vaeflow.contracts import LatentVariableModel, Metric, Objective, Schedule, SplitMetric, Terms, Transform
    from vaeflow.model.path_gradient import PathGradient
    from vaeflow.plugins.registered import Bound

NOISES = ("none", "step", "example")
TRIED = 3  # number of examples
STEPS_TRIED = (0, 1, 100, 10**9)


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


def try_metrics(
    bounds: Sequence[Bound],
    metrics: Mapping[str, Metric | SplitMetric],
    model: LatentVariableModel,
    *,
    classes: int = 0,
) -> None:
    """Check metrics.

    Args:
        bounds: the components.
        metrics: the objects that they built, by name.
        model: any model.
        classes: C of a conditional model, else 0.

    Raises:
        PluginError: if one fails, or does not return [B] float32.
    """
    per_example, _ = by_kind(metrics)  # one of a whole split needs the data
    if not per_example:
        return
    x, terms = _terms(model, TRIED - 1, classes)
    for bound in bounds:
        if bound.name in per_example:
            _try(bound, partial(per_example[bound.name], x, terms), ())


def try_objective(
    bound: Bound,
    objective: Objective,
    schedule: Schedule,
    model: LatentVariableModel,
    *,
    classes: int = 0,
    of_model: Bound | None = None,
) -> None:
    """Check an objective and the second players, whose networks this builds.

    Args:
        bound: the component.
        objective: the object that it built.
        schedule: the weight of the KL divergence.
        model: any model.
        classes: C of a conditional model, else 0.
        of_model: the model's component, which an error of one of its players names; by default the objective's.

    Raises:
        UsageError: if the model has no gradient of samples, or the schedule no weight, that the objective needs.
        PluginError: if it fails, does not return [B] float32, or has trainable variables; or a player is invalid, see
            `vaeflow.engine.players.require_players`.
    """
    _require_partners(bound.registered.label, objective, schedule, model)
    x, terms = _terms(model, objective.samples, classes, path_of(objective))
    at, players, label = tf.constant(0, tf.int64), players_of(model, objective), bound.registered.label
    own = len(getattr(objective, "players", NO_PLAYERS))
    owners = [of_model or bound] * (len(players) - own) + [bound] * own
    with tf.GradientTape() as tape:
        _try(bound, lambda: in_mode(lambda: objective.loss(terms, schedule, at), training=False), ())
        for owner, player in zip(owners, players, strict=True):
            if isinstance(player, Player):
                _try(owner, partial(player.loss, terms, x, at), ())
    require_players([owner.registered.label for owner in owners], players, model)
    require_none(hidden_variables(model, tape.watched_variables(), players), label)


def _require_partners(label: str, objective: Objective, schedule: Schedule, model: LatentVariableModel) -> None:
    """Check that the model and the schedule have what an objective declares to need."""
    if getattr(objective, "path_gradient", False) and "path" not in inspect.signature(model.terms).parameters:
        raise UsageError(
            f"{label} changes the gradient of samples, which the model does not support: its terms has no keyword "
            "'path'; choose another model, or an objective with the ordinary gradient"
        )
    if getattr(objective, "kl_weight_only", False) and not all(_is_weight(schedule, step) for step in STEPS_TRIED):
        raise UsageError(
            f"{label} multiplies the divergence of each sample by the KL weight, but this kl_schedule's penalty is not "
            "weight * KL: choose another, such as constant, cyclical or linear"
        )


def _is_weight(schedule: Schedule, step: int) -> bool:
    """Return whether a schedule's penalty is its weight times the divergence, at a step."""
    at, kl = tf.constant(step, tf.int64), tf.constant([0.5, 3.0])
    weighted = schedule.weight(at) * kl
    return bool(tf.reduce_all(tf.abs(schedule.penalty(kl, at) - weighted) <= 1e-4 * weighted + 1e-6))


def _terms(
    model: LatentVariableModel, samples: int, classes: int, path: PathGradient | None = None
) -> tuple[tf.Tensor, Terms]:
    """Return x of zeros and its terms."""
    x, noise, labels = zero_inputs(model, rows=TRIED, samples=samples, classes=classes)
    batch = Batch(x, tf.ones((TRIED,)), tf.zeros((TRIED,), tf.int32), labels)
    return x, forward(model, batch, noise, training=False, path=path)


def _try(bound: Bound, compute: Callable[[], tf.Tensor], shape: tuple[int, ...]) -> None:
    """Call a component on examples of zeros and check the type and shape of the result."""
    label, wanted = bound.registered.label, f"float32{(TRIED, *shape)}"
    values = computed(label, f"{TRIED} examples of zeros", compute)
    returned = f"{values.dtype.name}{tuple(values.shape)}" if tf.is_tensor(values) else described(values)
    if returned != wanted:
        raise PluginError(f"{label} returned {returned} for {TRIED} examples, expected {wanted}")

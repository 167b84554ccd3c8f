"""Variables that layers change in training: averages over batches, states of generators, normalized weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow.data.batches import Batch
from vaeflow.engine.forward import forward, loss_of, path_of
from vaeflow.errors import PluginError
from vaeflow.model.latents import zero_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaeflow.contracts import LatentVariableModel, Objective, Schedule


class Updates(keras.StatelessScope):
    """A scope that records assignments to variables instead of making them.

    Attributes:
        variables: those that were assigned, in order, by their identity.
    """

    def __init__(self, state_mapping: Iterable[tuple[keras.Variable, Any]] | None = None) -> None:
        super().__init__(state_mapping)
        self.variables: dict[int, keras.Variable] = {}

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        """Record an assignment."""
        super().add_update(update)
        self.variables[id(update[0])] = update[0]


class LayerState(NamedTuple):
    """The state variables of a model's layers.

    Attributes:
        seeds: states of random generators, which the step sets.
        averaged: variables that are averaged over microbatches: all that are not trainable, and weights that a layer
            changes (spectral normalization).
    """

    seeds: list[keras.Variable]
    averaged: list[keras.Variable]


def layer_state(
    model: LatentVariableModel, objective: Objective, schedule: Schedule, *, classes: int = 0
) -> LayerState:
    """Find the state variables of layers by a forward pass in training mode with examples of zeros.

    Args:
        model: any model, built.
        objective: terms to a loss; it may have layers without state.
        schedule: how the divergence enters the loss.
        classes: C of a conditional model, else 0.

    Raises:
        PluginError: if a layer has integers as state, which can't be averaged over microbatches, or a changed variable
            is not in the model.
    """
    changed = _changed(model, objective, schedule, classes)
    seeds = [g.state for layer in layers_of(model) for g in layer._seed_generators]  # noqa: SLF001
    known = {id(v) for v in (*model.variables, *seeds)}
    for variable in changed.values():
        if id(variable) not in known:
            raise PluginError(
                f"a component changes variable {variable.path!r} of shape {tuple(variable.shape)} in training, which "
                "is in no Keras layer of the model: it would be neither saved nor the same on all replicas; make it "
                "a variable of a posterior, prior, likelihood or network that is a keras.layers.Layer"
            )
    generators = {id(v) for v in seeds}
    averaged = [v for v in model.non_trainable_variables if id(v) not in generators]
    for variable in averaged:
        if not tf.as_dtype(variable.dtype).is_floating:
            raise PluginError(
                f"layer state {variable.path!r} is {variable.dtype}: only floats can be averaged over microbatches"
            )
    return LayerState(seeds, averaged + [v for v in model.trainable_variables if id(v) in changed])


def layers_of(model: Any) -> list[keras.layers.Layer]:
    """Return all layers of a model, with those inside other layers."""
    return list(model._flatten_layers())  # noqa: SLF001


def _changed(
    model: LatentVariableModel, objective: Objective, schedule: Schedule, classes: int
) -> dict[int, keras.Variable]:
    """Return the variables that a forward pass in training assigns, by their identity."""
    x, noise, labels = zero_inputs(model, rows=2, samples=objective.samples, classes=classes)
    valid, y = tf.ones((2,)), tf.zeros((2,), tf.int32)
    with Updates() as scope:
        terms = forward(model, Batch(x, valid, y, labels), noise, training=True, path=path_of(objective))
        loss_of(objective, terms, schedule, tf.constant(0, tf.int64))
    return scope.variables

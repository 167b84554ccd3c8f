"""The Keras models of a run: a network of their own, with the weights that the run evaluates with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import tensorflow as tf

from vaeflow.training.keras_models.architecture import Architecture
from vaeflow.training.keras_models.models import GenerativeModel
from vaeflow.training.keras_models.network import build_network
from vaeflow.training.keras_models.run_model import RunModel

if TYPE_CHECKING:
    from vaeflow.training.experiment import Experiment

Kind = TypeVar("Kind", bound=RunModel)


class ModelsOfRun:
    """Makes the models when they are asked for, and again after a step has changed the weights.

    Args:
        experiment: of the run, with its state. It is not changed, and later changes of it do not change the models.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._step: int | None = None
        self._made: dict[type[RunModel], RunModel] = {}

    def get(self, kind: type[Kind], step: int) -> Kind:
        """Return one of the models; all share one network.

        Args:
            kind: `GenerativeModel`, `Encoder` or `Decoder`.
            step: optimizer steps taken so far.
        """
        if self._step != step:
            self._made = {GenerativeModel: model_of(self._experiment)}
            self._step = step
        if kind not in self._made:
            self._made[kind] = kind.of(self._made[GenerativeModel])
        return cast("Kind", self._made[kind])


def model_of(experiment: Experiment) -> GenerativeModel:
    """Return the model of an experiment, with the EMA of the weights if there is one.

    Args:
        experiment: of the run, with its state.
    """
    trained = experiment.model
    x_shape, classes = tuple(trained.x_shape), experiment.trained.classes
    network = build_network(experiment.resolved, x_shape, classes)
    averages = {id(weight): average for weight, average in experiment.average.mapping()}
    for own, theirs in zip(network.variables, trained.variables, strict=True):
        if own.name != theirs.name or own.shape != theirs.shape:
            raise AssertionError(f"the model was built with {own.path} in the place of {theirs.path}")
        own.assign(averages.get(id(theirs), tf.convert_to_tensor(theirs.value)))
    return GenerativeModel(Architecture.of(experiment.resolved, x_shape, classes), network)

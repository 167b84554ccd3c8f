"""What the Keras models of a run have in common: they are saved with all that they need, and complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import tensorflow as tf

from vaeflow.engine.layer_state import layers_of
from vaeflow.errors import UsageError
from vaeflow.training.keras_models.architecture import Architecture
from vaeflow.training.keras_models.export import write_saved_model
from vaeflow.training.keras_models.network import build_network
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from vaeflow.contracts import LatentGroup, LatentVariableModel
    from vaeflow.training.keras_models.export import Endpoint

Labels = Any
"""The class of each example, [B] integers; None if the model is not conditional."""


class Held:
    """Holds a network where Keras does not look for layers: `RunModel` saves the variables itself.

    Args:
        network: any model.
    """

    def __init__(self, network: LatentVariableModel) -> None:
        self.network = network


class Layers(Sequence[Any]):
    """A sequence that is neither list nor tuple: Keras would write the layers in one a second time.

    Args:
        layers: in their order.
    """

    def __init__(self, layers: Iterable[keras.Layer]) -> None:
        self._layers = tuple(layers)

    def __getitem__(self, index: Any) -> Any:
        """Return a layer, or several."""
        return self._layers[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._layers)


class RunModel(keras.Model):
    """A Keras model that computes something with a network of vaeflow, in evaluation mode.

    Its config is the architecture, from which the network is built again, with the components of the plugins. So a
    component needs no `get_config` of its own. The weights are written here and not by Keras's walk along attributes,
    which would miss a variable that only a plain Python object holds.

    Args:
        architecture: what the network is built from.
        network: of this architecture, with its weights.
        name: of the model.
    """

    def __init__(self, architecture: Architecture, network: LatentVariableModel, *, name: str | None = None) -> None:
        super().__init__(name=name or _snake(type(self).__name__), dtype="float32")
        self.architecture = architecture
        self._held = Held(network)
        self._kept = self._variables_to_keep()  # Keras tracks the variables of a list
        self.built = True

    @classmethod
    def of(cls, other: RunModel) -> Self:
        """Return a model with the network of another one: both share their weights."""
        return cls(other.architecture, other._held.network)

    def _variables_to_keep(self) -> list[keras.Variable]:
        """Return the variables of the network that this model reads."""
        return list(self._held.network.variables)

    # What is saved

    def get_config(self) -> dict[str, Any]:
        """Return the architecture and the name."""
        return {**self.architecture.to_config(), "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:  # noqa: ARG003  # as Keras calls it
        """Build the network of a config; its weights are random until they are loaded.

        Raises:
            PluginError: if a plugin that it needs is neither installed nor imported.
            UsageError: if the config is not valid.
        """
        architecture = Architecture.from_config(config)
        network = build_network(architecture.resolved(), architecture.x_shape, architecture.classes)
        return cls(architecture, network, name=config.get("name"))

    def build(self, input_shape: Any = None) -> None:  # noqa: ARG002  # as Keras calls it
        """Do nothing: a network has its weights from the start."""

    def get_build_config(self) -> None:
        """Return None: no shape is needed to build it."""

    def save_own_variables(self, store: Any) -> None:
        """Write every variable under its place in the network and its name."""
        for name, variable in self._named().items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        """Set every variable.

        Raises:
            ValueError: if one is missing or left over, or has another shape; nothing is changed then.
        """
        own, there = self._named(), set(store.keys())
        unmatched = sorted(there ^ set(own))
        if unmatched:
            raise ValueError(f"weight {unmatched[0]!r} is only in one of the file and {type(self).__name__}")
        values = {name: np.asarray(store[name]) for name in own}
        for name, variable in own.items():
            if values[name].shape != tuple(variable.shape):
                raise ValueError(
                    f"weight {name!r} has shape {values[name].shape} in the file, and {tuple(variable.shape)} here"
                )
        for name, variable in own.items():
            variable.assign(values[name])

    def _named(self) -> dict[str, keras.Variable]:
        """Return the variables by names that do not depend on how many layers the process has."""
        kept = {id(variable) for variable in self._kept}
        numbered = enumerate(self._held.network.variables)
        return {f"{index:03d}_{one.name}": one for index, one in numbered if id(one) in kept}

    def _export(self, folder: str | Path, endpoints: Mapping[str, Endpoint], verbose: bool | None) -> None:
        write_saved_model(folder, endpoints, whose=type(self).__name__, verbose=verbose)

    # What is shown

    @property
    def layers(self) -> Sequence[keras.Layer]:
        """The layers of the network that have variables of this model, as `summary` lists them."""
        kept = {id(variable) for variable in self._kept}
        return Layers(layer for layer in self._held.network.layers if kept & {id(v) for v in layer.variables})

    @property
    def x_shape(self) -> tuple[int, ...]:
        """X, the shape of one example."""
        return self.architecture.x_shape

    @property
    def classes(self) -> int:
        """C, the number of classes of a conditional model, else 0."""
        return self.architecture.classes

    @property
    def latents(self) -> tuple[LatentGroup, ...]:
        """The groups of latents, from the top down."""
        return tuple(self._held.network.latents)

    # What is computed

    def _evaluated(self, compute: Callable[[], Any]) -> Any:
        return in_mode(compute, training=False)

    def _means(self, x: tf.Tensor, labels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        return self._evaluated(lambda: dict(self._held.network.encode(x, labels=self._one_hot(labels))))

    def _decoded(self, z: Mapping[str, tf.Tensor], labels: tf.Tensor | None) -> tf.Tensor:
        return self._evaluated(lambda: self._held.network.decode(z, labels=self._one_hot(labels)).mean())

    def _one_hot(self, labels: tf.Tensor | None) -> tf.Tensor | None:
        return None if labels is None else tf.one_hot(tf.cast(labels, tf.int64), self.classes)

    def _alone(self, by_group: dict[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
        return by_group if len(by_group) > 1 else next(iter(by_group.values()))

    def _grouped(self, z: Any) -> dict[str, Any]:
        """Return latents by group, after a check of their shapes."""
        names = [group.name for group in self.latents]
        if not isinstance(z, dict):
            if len(names) > 1:
                raise UsageError(f"this model has several groups of latents: give z as a dict of {', '.join(names)}")
            z = {names[0]: z}
        if set(z) != set(names):
            raise UsageError(f"z has the groups {', '.join(map(str, z))}, but this model has {', '.join(names)}")
        several = len(names) > 1
        return {g.name: checked(z[g.name], g.shape, f"z[{g.name!r}]" if several else "z") for g in self.latents}

    def _checked(self, x: Any, labels: Any) -> tuple[Any, Any]:
        """Return examples and their labels, after a check of shapes, types and classes."""
        x = checked(x, self.x_shape, "x")
        return x, self._checked_labels(labels)

    def _checked_labels(self, labels: Any) -> Any:
        if not self.classes:
            if labels is not None:
                raise UsageError("this model takes no labels: it was trained with condition.labels = false")
            return None
        if labels is None:
            raise UsageError(
                f"this model is conditional: give the label of each example, 0 to {self.classes - 1}, as labels=..."
            )
        if tf.is_tensor(labels) or isinstance(labels, keras.KerasTensor):
            return labels
        given = np.asarray(labels)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise UsageError(f"labels have shape {given.shape} and type {given.dtype}; give one whole number an example")
        if len(given) and (given.min() < 0 or given.max() >= self.classes):
            wrong = given[(given < 0) | (given >= self.classes)][0]
            raise UsageError(f"label {wrong} is not one of the {self.classes} classes 0 to {self.classes - 1}")
        return given.astype(np.int64)


def checked(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return float32 values [B, *shape].

    Raises:
        UsageError: if they have another shape, or are integers.
    """
    if not isinstance(values, keras.KerasTensor) and not tf.is_tensor(values):
        values = np.asarray(values)
    dtype, given = tf.as_dtype(values.dtype), tuple(values.shape)
    if given[1:] != tuple(shape) or not given:
        raise UsageError(f"{name} has shape {given}, but this model takes [B, {', '.join(map(str, shape))}]")
    if not dtype.is_floating:
        raise UsageError(f"{name} is {dtype.name}: give float32, prepared as `run.examples` or `run.prepare` return it")
    return values if isinstance(values, keras.KerasTensor) else tf.cast(values, tf.float32)


def variables_read(network: LatentVariableModel, compute: Callable[..., Any], *specs: Any) -> list[keras.Variable]:
    """Return the variables that a computation reads: a graph has to capture each.

    Args:
        network: what has the variables.
        compute: takes tensors of the specs.
        specs: what it is traced with.
    """
    traced = tf.function(compute, autograph=False).get_concrete_function(*specs)
    captured = {id(one) for one in traced.captured_inputs}
    return [variable for variable in network.variables if id(variable.value.handle) in captured]


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))

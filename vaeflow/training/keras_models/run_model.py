"""What the Keras models of a run have in common: they are saved with all that they need, and complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import tensorflow as tf

from vaeflow.training.keras_models.architecture import Architecture
from vaeflow.training.keras_models.checks import checked, checked_labels
from vaeflow.training.keras_models.computation import Computation
from vaeflow.training.keras_models.export import rows, write_saved_model
from vaeflow.training.keras_models.network import build_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vaeflow.contracts import LatentGroup, LatentVariableModel
    from vaeflow.training.keras_models.export import Endpoint

SAVED_MODEL = "tf_saved_model"

TO_LOAD = "from vaeflow import GenerativeModel, before keras.models.load_model"
"""In every saved config: Keras prints the config if it does not know the class."""


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
        self.computation = Computation(network, architecture.classes)
        self._kept = self._variables_to_keep()  # Keras tracks the variables of a list
        self.built = True

    @classmethod
    def of(cls, other: RunModel) -> Self:
        """Return a model with the network of another one: both share their weights."""
        return cls(other.architecture, other.computation.network)

    def _variables_to_keep(self) -> list[keras.Variable]:
        """Return the variables of the network that this model reads."""
        return list(self.computation.network.variables)

    # What is saved

    def get_config(self) -> dict[str, Any]:
        """Return how to load it, the architecture and the name."""
        return {"to_load": TO_LOAD, **self.architecture.to_config(), "name": self.name}

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

    def build(self, input_shape: Any = None) -> None:  # as Keras calls it
        """Do nothing: a network has its weights from the start."""

    def get_build_config(self) -> None:
        """Return None: no shape is needed to build it."""

    def save_own_variables(self, store: Any) -> None:
        """Write every variable under its place in the network and its name."""
        for name, variable in self._named().items():
            store[name] = variable.numpy()

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
        numbered = enumerate(self.computation.network.variables)
        return {f"{index:03d}_{one.name}": one for index, one in numbered if id(one) in kept}

    def export(
        self,
        filepath: str | Path,
        format: str = SAVED_MODEL,  # noqa: A002  # Keras's name
        verbose: bool = False,
        input_signature: Any = None,
        **options: Any,
    ) -> None:
        """Write a SavedModel, which TensorFlow loads without vaeflow, for any number of examples.

        Its signatures are `serve`, which computes what a call of the model does, and those of the class.

        Args:
            filepath: a folder.
            format: `tf_saved_model`; Keras's other formats have `serve` alone.
            verbose: print the signatures.
            input_signature: of other formats.
            options: of other formats.

        Raises:
            PluginError: if a component needs to know the number of examples when its graph is made.
        """
        endpoints = self._endpoints()
        if format == SAVED_MODEL:
            write_saved_model(filepath, endpoints, whose=type(self).__name__, verbose=verbose)
        else:
            signature = input_signature or list(endpoints["serve"].inputs)
            super().export(filepath, format, verbose, signature, **options)

    def _endpoints(self) -> dict[str, Endpoint]:
        """Return the functions of a SavedModel; `serve` is the first."""
        raise NotImplementedError

    # What is shown

    @property
    def layers(self) -> Sequence[keras.Layer]:
        """The layers of the network that have variables of this model, as `summary` lists them."""
        kept = {id(variable) for variable in self._kept}
        layers = getattr(self.computation.network, "layers", ())  # it is a keras.Model
        return Layers(layer for layer in layers if kept & {id(v) for v in layer.variables})

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
        return tuple(self.computation.network.latents)

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what `export` writes, by the name of the signature."""
        return self._endpoints()

    def _latents(self) -> Any:
        """Return the specs of latents, by group if there are several; signatures then name them `z_NAME`."""
        if len(self.latents) == 1:
            return rows(*self.latents[0].shape)
        return {group.name: rows(*group.shape, name=f"z_{group.name}") for group in self.latents}

    def _labels(self) -> list[Any]:
        """Return the spec of labels, if the model takes any."""
        return [rows(dtype=tf.int64)] if self.classes else []

    def _checked(self, x: Any, labels: Any) -> tuple[Any, Any]:
        return checked(x, self.x_shape, "x"), checked_labels(labels, self.classes)

    def _alone(self, by_group: dict[str, Any]) -> Any:
        """Return what belongs to the only group of latents, or by group if there are several."""
        return by_group if len(by_group) > 1 else next(iter(by_group.values()))


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))

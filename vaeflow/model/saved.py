"""Latent-variable models that Keras itself saves and loads, without a run and without a config of vaeflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import keras
import tensorflow as tf

from vaeflow.model.latents import generation_noise_size, zero_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping


class SavedByArguments(keras.Model):
    """A latent-variable model whose Keras config is the arguments of its constructor.

    A class derives from it, is registered by `keras.saving.register_keras_serializable`, and returns its arguments
    from `arguments`. Those that are objects, such as networks and a likelihood, must have `get_config` and be
    registered, too. A model that is loaded is called once on zeros, so that all its layers have their weights.
    """

    classes: int = 0
    """C of a conditional model."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor by name: numbers, texts, lists, and objects that Keras can save."""
        raise NotImplementedError

    @classmethod
    def of_arguments(cls, **arguments: Any) -> Self:
        """Return the model of what `arguments` returned, after it was JSON."""
        return cls(**arguments)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, and the precision that the model was built in."""
        return {**self.arguments(), "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:
        """Build the model of a config; its weights are random until they are loaded."""
        arguments = keras.saving.deserialize_keras_object(dict(config), custom_objects=custom_objects)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(arguments.pop("dtype"))
        try:
            return cls.of_arguments(**arguments)
        finally:
            keras.config.set_dtype_policy(before)

    def get_build_config(self) -> dict[str, Any]:
        """Return what `build_from_config` needs."""
        return {"classes": self.classes}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Call the model once on zeros: layers that are built on their first call get their weights."""
        x, noise, labels = zero_inputs(self, rows=1, classes=int(config["classes"]))
        self.terms(x, noise, labels=labels)
        self.generate(tf.zeros((1, generation_noise_size(self.latents))), labels=labels)
        self.built = True

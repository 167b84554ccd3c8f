"""Layers that compute in float32 in any precision, because they change z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = "float32"
SMALL = 0.01


def small() -> keras.initializers.Initializer:
    """Return an initializer near zero, for steps that start near the identity.

    At exactly zero, earlier variables (the network before the last layer, a planar flow's w) have no gradient.
    """
    return keras.initializers.RandomNormal(stddev=SMALL)


def dense(units: int, name: str, *, kernel: object = "glorot_uniform", bias: object = "zeros") -> keras.layers.Dense:
    """Return a dense layer in float32, with initializers of its kernel and bias."""
    return keras.layers.Dense(units, kernel_initializer=kernel, bias_initializer=bias, dtype=FULL, name=name)


def saved(layers: Sequence[Any]) -> list[Any]:
    """Return the configs of layers that another one is made of."""
    return [keras.saving.serialize_keras_object(layer) for layer in layers]


def loaded(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a config with the objects of those that `saved` wrote under some names."""
    objects = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
    return {**config, **objects}


class Layer(keras.layers.Layer):  # type: ignore[misc] # Keras has no types.
    """A layer that owns variables in float32.

    Args:
        name: of the layer.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype=FULL)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class MaskedDense(Layer):
    """inputs @ (kernel * mask) + bias.

    Args:
        mask: [inputs, units], 0 or 1.
        name: of the layer.
        bias: whether there is one.
        kernel: its initializer.
    """

    def __init__(self, mask: np.ndarray, name: str, *, bias: bool = True, kernel: object = "glorot_uniform") -> None:
        super().__init__(name)
        self.mask = mask
        self._initial = keras.initializers.get(kernel)
        self.kernel = self.add_weight(shape=mask.shape, initializer=self._initial, name="kernel")
        self.bias = self.add_weight(shape=(mask.shape[1],), initializer="zeros", name="bias") if bias else None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; the mask as lists."""
        kernel = keras.initializers.serialize(self._initial)
        return {"mask": self.mask.tolist(), "name": self.name, "bias": self.bias is not None, "kernel": kernel}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedDense:
        """Return the layer of a config."""
        return cls(**{**config, "mask": np.asarray(config["mask"], np.float32)})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return [..., units] for inputs [..., inputs]."""
        product = tf.tensordot(inputs, tf.convert_to_tensor(self.kernel) * self.mask, axes=1)
        return product if self.bias is None else product + self.bias

"""The network of a step: masked latents, and features if there are any, to a shift and a raw scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow_flows.layers import Layer, MaskedDense, dense, small

Network = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Latents [L, B, inputs] to a shift and a raw scale, each [L, B, outputs]."""

LARGEST_LOG_SCALE = 3.0


def bounded(raw: tf.Tensor) -> tf.Tensor:
    """Return a log-scale in (-3, 3) that is the raw one near 0, so that exp can't overflow after an optimizer step.

    Dinh et al. 2017 use a hyperbolic tangent, too.
    """
    return LARGEST_LOG_SCALE * tf.tanh(raw / LARGEST_LOG_SCALE)


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class Conditioner(Layer):
    """Dense layers; the first gets latents and features, if there are any; the last starts near zero.

    Args:
        masks: of each layer, [inputs, hidden[0]], ..., [hidden[-1], 2 outputs]. If the first has no weights
            (autoregressive in one latent), the network depends on the features only, without unused variables.
        activation: of the hidden layers, the name of a Keras activation.
        conditional: whether there are features.
        scale: factor of the outputs. An optimizer such as Adam changes each weight by its learning rate, whatever the
            gradient, so the factor slows down what the network computes.
    """

    def __init__(self, masks: Sequence[np.ndarray], activation: str, *, conditional: bool, scale: float = 1.0) -> None:
        super().__init__("conditioner")
        first, *between, last = self._masks = list(masks)
        self.scale = scale
        self.activation = keras.activations.get(activation)
        self.features = dense(first.shape[1], "features") if conditional else None
        self.latents = MaskedDense(first, "latents", bias=not conditional) if first.any() else None
        self.between = [MaskedDense(mask, f"hidden_{number}") for number, mask in enumerate(between)]
        self.last = MaskedDense(last, "last", kernel=small())

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; masks as lists."""
        activation, conditional = keras.activations.serialize(self.activation), self.features is not None
        return {
            "masks": [mask.tolist() for mask in self._masks],
            "activation": activation,
            "conditional": conditional,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Conditioner:
        """Return the layer of a config."""
        return cls(**{**config, "masks": [np.asarray(mask, np.float32) for mask in config["masks"]]})

    def given(self, features_BF: tf.Tensor | None) -> Network:
        """Return the network for features [B, F]; the part that depends only on them is computed once."""
        context_BH = tf.zeros(()) if self.features is None else self.features(features_BF)

        def network(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Without latents, zeros add the axis of samples to the result.
            seen = tf.zeros_like(z[..., :1]) if self.latents is None else self.latents(z)
            h = self.activation(seen + context_BH)
            for layer in self.between:
                h = self.activation(layer(h))
            outputs = self.last(h) if self.scale == 1.0 else self.scale * self.last(h)
            shift, raw = tf.split(outputs, 2, axis=-1)
            return shift, raw

        return network

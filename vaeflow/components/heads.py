"""Layers that turn a network's features into the parameters of a distribution."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from vaeflow.model.distributions import DiagonalNormal, Laplace, Normal


@keras.saving.register_keras_serializable(package="vaeflow")
class DiagonalGaussianHead(keras.layers.Layer):
    """q(z given x) = N(mu, diag(sigma^2)) with mu and log sigma^2 linear in the features.

    Args:
        latent_size: D.
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__(name="posterior", dtype="float32")
        self.noise_size = latent_size
        self.mu = keras.layers.Dense(latent_size, dtype="float32", name="mu")
        self.log_var = keras.layers.Dense(latent_size, dtype="float32", name="log_var")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self.noise_size}

    def distribution(self, features: tf.Tensor) -> DiagonalNormal:
        """Return q(z given x) for features [B, F]."""
        return DiagonalNormal(self.mu(features), self.log_var(features))


@keras.saving.register_keras_serializable(package="vaeflow")
class SharedVarianceHead(keras.layers.Layer):
    """p(x given z) = N(mu, sigma^2 I) with one learned sigma for all elements (Rybkin et al. 2021).

    Args:
        x_shape: X.
        scale: initial sigma.
    """

    def __init__(self, x_shape: tuple[int, ...], scale: float) -> None:
        super().__init__(name="likelihood", dtype="float32")
        self.parameters_shape, self.scale = tuple(x_shape), scale
        initial = keras.initializers.Constant(2.0 * float(tf.math.log(scale)))
        self.log_var = self.add_weight(shape=(), initializer=initial, name="log_var")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"x_shape": list(self.parameters_shape), "scale": self.scale}

    def distribution(self, parameters: tf.Tensor) -> Normal:
        """Return p(x given z) for means [..., *X]."""
        return Normal(parameters, tf.convert_to_tensor(self.log_var), rank=len(self.parameters_shape))


@keras.saving.register_keras_serializable(package="vaeflow")
class SharedScaleHead(keras.layers.Layer):
    """p(x given z) is Laplace around its means, with one learned scale b for all elements.

    Args:
        x_shape: X.
        scale: initial b.
    """

    def __init__(self, x_shape: tuple[int, ...], scale: float) -> None:
        super().__init__(name="likelihood", dtype="float32")
        self.parameters_shape, self.scale = tuple(x_shape), scale
        initial = keras.initializers.Constant(math.log(scale))
        self.log_scale = self.add_weight(shape=(), initializer=initial, name="log_scale")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"x_shape": list(self.parameters_shape), "scale": self.scale}

    def distribution(self, parameters: tf.Tensor) -> Laplace:
        """Return p(x given z) for means [..., *X]."""
        return Laplace(parameters, tf.convert_to_tensor(self.log_scale), rank=len(self.parameters_shape))

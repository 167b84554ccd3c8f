"""Likelihoods with a learned dispersion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow_counts.negative_binomial import NegativeBinomial, ZeroInflated

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution


@keras.saving.register_keras_serializable(package="vaeflow_counts")
class DispersedCounts(keras.layers.Layer):
    """A negative binomial likelihood with a dispersion per element, the same for all examples.

    Args:
        x_shape: X.
        counts_per_unit: the count that x = 1 stands for.
        dispersion: theta at the start.
        zeros: whether the decoder also returns logits of additional zeros.
    """

    def __init__(self, x_shape: tuple[int, ...], counts_per_unit: float, dispersion: float, *, zeros: bool) -> None:
        super().__init__(name="likelihood", dtype="float32")
        self.rank, self.counts_per_unit, self.zeros = len(x_shape), counts_per_unit, zeros
        self.parameters_shape = (*x_shape[:-1], 2 * x_shape[-1]) if zeros else tuple(x_shape)
        self._config = {"x_shape": list(x_shape), "counts_per_unit": counts_per_unit, "dispersion": dispersion}
        start = keras.initializers.Constant(math.log(dispersion))
        self.log_dispersion = self.add_weight(shape=tuple(x_shape), initializer=start, name="log_dispersion")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**self._config, "zeros": self.zeros}

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Return p(x given z) for parameters [..., *P]."""
        log_dispersion = tf.convert_to_tensor(self.log_dispersion)
        if not self.zeros:
            return NegativeBinomial(parameters, log_dispersion, self.rank, self.counts_per_unit)
        log_mean, logits = tf.split(parameters, 2, axis=-1)
        return ZeroInflated(NegativeBinomial(log_mean, log_dispersion, self.rank, self.counts_per_unit), logits)

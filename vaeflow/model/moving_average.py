"""The EMA of the weights (Polyak and Juditsky 1992), for evaluation and sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras


class MovingAverage:
    """Exponential moving averages: a <- decay * a + (1 - decay) * w after each step.

    Args:
        weights: the trainable variables; the averages start at their values.
        decay: in (0, 1); None keeps no averages.
    """

    def __init__(self, weights: list[keras.Variable], decay: float | None) -> None:
        self._rate = 0.0 if decay is None else 1.0 - decay
        self.weights = [] if decay is None else weights
        self.variables = [tf.Variable(w.value, trainable=False, name="ema") for w in self.weights]

    def next(self) -> list[tf.Tensor]:
        """Return the next values of the averages, given the current weights."""
        return [a + self._rate * (w.value - a) for a, w in zip(self.variables, self.weights, strict=True)]

    def reset(self) -> None:
        """Reset the averages to the current weights."""
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign(weight.value)

    def mapping(self) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Return (weight, average) pairs for a `keras.StatelessScope` that computes with the averages."""
        return [(w, tf.convert_to_tensor(a)) for w, a in zip(self.weights, self.variables, strict=True)]

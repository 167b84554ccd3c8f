"""A normalizing flow as a prior: standard normal noise transformed by learned invertible steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from vaeflow.model.distributions import StandardNormal
from vaeflow_flows.layers import Layer, loaded, saved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import Distribution
    from vaeflow_flows.flow import Transform

POINTS = 16_384


class Step(Protocol):
    """A Keras layer that owns the variables of one step, which depends on no features."""

    def given(self, features_BF: None) -> Transform:
        """Return the step."""


def normal_points(count: int, size: int) -> np.ndarray:
    """Return fixed points that are spread as a standard normal distribution: an additive recurrence and its mirror.

    The fractions are those of Roberts ("The unreasonable effectiveness of quasirandom sequences", 2018): powers of the
    root of x^(D + 1) = x + 1.

    Args:
        count: an even number.
        size: D.

    Returns:
        [count, D], float32.

    >>> bool(np.abs(normal_points(1000, 2).mean(axis=0)).max() < 1e-6)
    True
    """
    root = 1.0
    for _ in range(60):
        root = (1.0 + root) ** (1.0 / (size + 1))
    fractions = root ** -np.arange(1.0, size + 1.0)
    uniform = (0.5 + np.arange(1, count // 2 + 1)[:, None] * fractions) % 1.0
    half = np.asarray(tf.math.ndtri(tf.constant(uniform, tf.float32)))
    return np.concatenate([half, -half])


@keras.saving.register_keras_serializable(package="vaeflow_flows")
class FlowPrior(Layer):
    """p(z) with z = f_K(... f_1(e)), e ~ N(0, I).

    Args:
        latent_size: D.
        steps: f_1 to f_K, Keras layers.
    """

    mean_is_exact = False

    def __init__(self, latent_size: int, steps: Sequence[Step]) -> None:
        super().__init__("prior")
        self.base = StandardNormal(latent_size)
        self.steps = list(steps)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"latent_size": self.base.size, "steps": saved(self.steps)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FlowPrior:
        """Return the layer of a config."""
        return cls(**loaded(config, "steps"))

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Return z [..., D] for standard normal noise [..., D]."""
        for step in self.steps:
            noise, _ = step.given(None).forward(noise)
        return noise

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Return log N(e; 0, I) + log |det de/dz| for z [..., D], [...] nats."""
        log_det = tf.zeros(())
        for step in reversed(self.steps):
            value, one = step.given(None).inverse(value)
            log_det += one
        return self.base.log_prob(value) + log_det

    def mean(self) -> tf.Tensor:
        """Return the average image of 16,384 fixed points, [D]: near the mean, for which no formula is known."""
        return tf.reduce_mean(self.sample(tf.constant(normal_points(POINTS, self.base.size))), axis=0)

    def kl_terms(self, q: Distribution) -> None:
        """Return None: samples estimate KL(q, p)."""

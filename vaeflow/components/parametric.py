"""Likelihoods without variables, as objects that Keras can save."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import keras
import tensorflow as tf

from vaeflow.model.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    Laplace,
    Normal,
    Poisson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaeflow.contracts import Distribution

register = keras.saving.register_keras_serializable(package="vaeflow")

DENSITIES: Mapping[str, Callable[..., Distribution]] = {"normal": Normal, "laplace": Laplace}
"""Densities around a mean, by the names that configs have."""


@dataclass(frozen=True)
class ParametricLikelihood:
    """p(x given z) that follows from the decoder's output alone.

    Attributes:
        x_shape: X.
    """

    x_shape: tuple[int, ...]

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P, the shape of the decoder's output for one example; here that of x."""
        return self.x_shape

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Return p(x given z) for parameters [..., *P]."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "x_shape": list(self.x_shape)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the likelihood of a config."""
        return cls(**{**config, "x_shape": tuple(config["x_shape"])})


@register
@dataclass(frozen=True)
class BernoulliLikelihood(ParametricLikelihood):
    """Bernoulli pixels from logits."""

    def distribution(self, parameters: tf.Tensor) -> Bernoulli:
        """Return p(x given z) for logits [..., *X]."""
        return Bernoulli(parameters, rank=len(self.x_shape))


@register
@dataclass(frozen=True)
class ContinuousBernoulliLikelihood(ParametricLikelihood):
    """Continuous Bernoulli pixels from logits."""

    def distribution(self, parameters: tf.Tensor) -> ContinuousBernoulli:
        """Return p(x given z) for logits [..., *X]."""
        return ContinuousBernoulli(parameters, rank=len(self.x_shape))


@register
@dataclass(frozen=True)
class AroundMeansLikelihood(ParametricLikelihood):
    """Around decoded means, of one fixed width, or of a decoded width for each element.

    Attributes:
        density: one of `DENSITIES`, built from means, a logarithm of widths and `rank`.
        log_width: the logarithm of the width; with `decoded` it is added to the decoder's.
        decoded: whether the decoder returns a logarithm of the width beside each mean.
    """

    density: str
    log_width: float
    decoded: bool

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P: X, or twice as long along its last axis."""
        return (*self.x_shape[:-1], 2 * self.x_shape[-1]) if self.decoded else self.x_shape

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Return p(x given z) for means, or for means and then log-ratios of widths, [..., *P]."""
        of, rank = DENSITIES[self.density], len(self.x_shape)
        if not self.decoded:
            return of(parameters, self.log_width, rank=rank)
        mu, log_ratio = tf.split(parameters, 2, axis=-1)
        return of(mu, log_ratio + self.log_width, rank=rank)


@register
@dataclass(frozen=True)
class PoissonLikelihood(ParametricLikelihood):
    """Poisson counts from logarithms of rates.

    Attributes:
        counts_per_unit: the count that x = 1 stands for.
    """

    counts_per_unit: float

    def distribution(self, parameters: tf.Tensor) -> Poisson:
        """Return p(x given z) for log rates [..., *X]."""
        return Poisson(parameters, len(self.x_shape), self.counts_per_unit)


@register
@dataclass(frozen=True)
class CategoricalLikelihood(ParametricLikelihood):
    """Levels of x in [0, 1] from logits.

    Attributes:
        levels: K.
    """

    levels: int

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P: X, K times as long along its last axis."""
        return (*self.x_shape[:-1], self.levels * self.x_shape[-1])

    def distribution(self, parameters: tf.Tensor) -> Categorical:
        """Return p(x given z) for logits [..., *P]."""
        shape = tf.concat([tf.shape(parameters)[:-1], (self.x_shape[-1], self.levels)], axis=0)
        return Categorical(tf.reshape(parameters, shape), rank=len(self.x_shape))


@register
@dataclass(frozen=True)
class DiscretizedLogisticMixtureLikelihood(ParametricLikelihood):
    """Mixtures of discretized logistics over levels of x in [0, 1].

    Attributes:
        mixtures: M, the number of logistics.
        levels: K.
    """

    mixtures: int
    levels: int

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """P: [H, W, numbers per pixel] for an image, else the numbers of each element along the last axis."""
        width = self.mixtures * DiscretizedLogisticMixture.numbers_per_logistic(self.x_shape)
        return (*self.x_shape[:-1], width if len(self.x_shape) == 3 else width * self.x_shape[-1])

    def distribution(self, parameters: tf.Tensor) -> DiscretizedLogisticMixture:
        """Return p(x given z) for parameters [..., *P]."""
        return DiscretizedLogisticMixture.of(parameters, self.x_shape, self.mixtures, self.levels)

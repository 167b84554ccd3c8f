"""Likelihoods p(x given z) that come with vaeflow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import Callable

    import tensorflow as tf

    from vaeflow.contracts import Distribution, Likelihood


@dataclass(frozen=True)
class ParametricLikelihood:
    """A likelihood without variables of its own.

    Attributes:
        parameters_shape: P, what the decoder puts out for one example.
        distribution: parameters [..., *P] to p(x given z).
    """

    parameters_shape: tuple[int, ...]
    distribution: Callable[[tf.Tensor], Distribution]


def bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent Bernoulli pixels from logits, for binary x (the article's, equation 12).

    Args:
        x_shape: X; the decoder puts out one logit an element.
    """
    from vaeflow.model.distributions import Bernoulli

    return ParametricLikelihood(x_shape, lambda logits: Bernoulli(logits, rank=len(x_shape)))


def continuous_bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent continuous Bernoulli pixels for x in [0, 1] (Loaiza-Ganem and Cunningham, 2019).

    Args:
        x_shape: X; the decoder puts out one logit an element.
    """
    from vaeflow.model.distributions import ContinuousBernoulli

    return ParametricLikelihood(x_shape, lambda logits: ContinuousBernoulli(logits, rank=len(x_shape)))


def gaussian(
    x_shape: tuple[int, ...],
    *,
    variance: Literal["fixed", "shared", "decoded"] = "fixed",
    scale: Annotated[float, Field(gt=0)] = 1.0,
) -> Likelihood:
    """Independent normals over real x.

    Args:
        x_shape: X; the decoder puts out a mean an element, with `decoded` a log variance too.
        variance: `fixed` keeps sigma at `scale`; `shared` learns one sigma for all elements, starting there (Rybkin et
            al. 2021); `decoded` lets the decoder put out log sigma^2 for every element.
        scale: sigma, in units of x. With `decoded` it multiplies what the decoder puts out.
    """
    from vaeflow.components.heads import SharedVarianceHead
    from vaeflow.model.distributions import Normal

    if variance == "shared":
        return SharedVarianceHead(x_shape, scale)
    log_var = 2.0 * math.log(scale)
    if variance == "fixed":
        return ParametricLikelihood(x_shape, lambda mu: Normal(mu, log_var, rank=len(x_shape)))

    def decoded(parameters: tf.Tensor) -> Normal:
        import tensorflow as tf

        mu, log_ratio = tf.split(parameters, 2, axis=-1)
        return Normal(mu, log_ratio + log_var, rank=len(x_shape))

    return ParametricLikelihood((*x_shape[:-1], 2 * x_shape[-1]), decoded)

"""Built-in likelihoods p(x given z)."""

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
    """A likelihood without variables.

    Attributes:
        parameters_shape: P, the shape of the decoder's output for one example.
        distribution: turns parameters [..., *P] into p(x given z).
    """

    parameters_shape: tuple[int, ...]
    distribution: Callable[[tf.Tensor], Distribution]


def bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent Bernoulli pixels from logits, for binary x (the article's, equation 12).

    Args:
        x_shape: X; the decoder returns one logit per element.
    """
    from vaeflow.model.distributions import Bernoulli

    return ParametricLikelihood(x_shape, lambda logits: Bernoulli(logits, rank=len(x_shape)))


def continuous_bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent continuous Bernoulli pixels for x in [0, 1] (Loaiza-Ganem and Cunningham, 2019).

    Args:
        x_shape: X; the decoder returns one logit per element.
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
        x_shape: X; the decoder returns one mean per element, and with `decoded` also one log variance.
        variance: `fixed` keeps sigma at `scale`; `shared` learns one sigma for all elements, with initial value `scale`
            (Rybkin et al. 2021); with `decoded`, the decoder returns log sigma^2 for every element.
        scale: sigma, in units of x. With `decoded` it multiplies the decoder's sigma.
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

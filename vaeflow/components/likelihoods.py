"""Built-in likelihoods p(x given z)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from vaeflow.contracts import Likelihood


def bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent Bernoulli pixels from logits, for binary x (the article's, equation 12).

    Args:
        x_shape: X; the decoder returns one logit per element.
    """
    from vaeflow.components.parametric import BernoulliLikelihood

    return BernoulliLikelihood(x_shape)


def continuous_bernoulli(x_shape: tuple[int, ...]) -> Likelihood:
    """Independent continuous Bernoulli pixels for x in [0, 1] (Loaiza-Ganem and Cunningham, 2019).

    Args:
        x_shape: X; the decoder returns one logit per element.
    """
    from vaeflow.components.parametric import ContinuousBernoulliLikelihood

    return ContinuousBernoulliLikelihood(x_shape)


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
    from vaeflow.components.parametric import AroundMeansLikelihood

    if variance == "shared":
        return SharedVarianceHead(x_shape, scale)
    return AroundMeansLikelihood(x_shape, "normal", 2.0 * math.log(scale), decoded=variance == "decoded")


def laplace(
    x_shape: tuple[int, ...],
    *,
    variance: Literal["fixed", "shared", "decoded"] = "fixed",
    scale: Annotated[float, Field(gt=0)] = 1.0,
) -> Likelihood:
    """Independent Laplace variables over real x: by absolute errors, so that outliers count less than with `gaussian`.

    Args:
        x_shape: X; the decoder returns one mean per element, and with `decoded` also one log b.
        variance: 2 b^2 for the scale b. `fixed` keeps b at `scale`; `shared` learns one b for all elements, with
            initial value `scale`; with `decoded`, the decoder returns log b for every element.
        scale: b, the expected distance from the mean, in units of x. With `decoded` it multiplies the decoder's b.
    """
    from vaeflow.components.heads import SharedScaleHead
    from vaeflow.components.parametric import AroundMeansLikelihood

    if variance == "shared":
        return SharedScaleHead(x_shape, scale)
    return AroundMeansLikelihood(x_shape, "laplace", math.log(scale), decoded=variance == "decoded")


def poisson(x_shape: tuple[int, ...], *, counts_per_unit: Annotated[float, Field(gt=0)] = 1.0) -> Likelihood:
    """Independent Poisson variables over counts, from logarithms of rates, with `binarization=none`.

    Probabilities are those of the counts nearest to x times `counts_per_unit`, without an upper limit.

    Args:
        x_shape: X; the decoder returns one log rate per element: the logarithm of the expected count.
        counts_per_unit: the count that x = 1 stands for: 1 if float data are counts (with `dataset.check=false`), 255
            if bytes are counts, because bytes are divided by 255, and c if float data are counts divided by c.
    """
    from vaeflow.components.parametric import PoissonLikelihood

    return PoissonLikelihood(x_shape, counts_per_unit)


def categorical(x_shape: tuple[int, ...], *, levels: Annotated[int, Field(ge=2)] = 256) -> Likelihood:
    """Independent categorical variables over K levels of x in [0, 1], with `binarization=none`.

    Level k is x = k / (K - 1); probabilities are those of the level nearest to x. With 256 levels, byte k is level k.

    Args:
        x_shape: X; the decoder returns K logits per element.
        levels: K.
    """
    from vaeflow.components.parametric import CategoricalLikelihood

    return CategoricalLikelihood(x_shape, levels)


def discretized_logistic_mixture(
    x_shape: tuple[int, ...],
    *,
    mixtures: Annotated[int, Field(ge=1)] = 10,
    levels: Annotated[int, Field(ge=2)] = 256,
) -> Likelihood:
    """Mixtures of discretized logistics over K levels of x in [0, 1] (PixelCNN++, Salimans et al. 2017).

    Use it with `binarization=none`. The channels of a pixel share the choice of the logistic, and the mean of a channel
    is linear in the channels before it, as in the paper for red, green and blue. If x is not an image, each element has
    a mixture of its own. With several channels, `mean` is only near the mean.

    Args:
        x_shape: X; of an image, the decoder returns M (1 + 2 C + C (C - 1) / 2) numbers per pixel with C channels,
            otherwise 3 M per element: M logits, then means in [-1, 1], log scales, and coefficients before tanh.
        mixtures: M, the number of logistics.
        levels: K; 256 for bytes.
    """
    from vaeflow.components.parametric import DiscretizedLogisticMixtureLikelihood

    return DiscretizedLogisticMixtureLikelihood(x_shape, mixtures, levels)

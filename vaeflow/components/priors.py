"""Built-in priors p(z)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from vaeflow.contracts import Prior


def standard_normal(latent_size: int) -> Prior:
    """The article's prior N(0, I), with a closed-form KL divergence from a diagonal Gaussian.

    Args:
        latent_size: D.
    """
    from vaeflow.model.distributions import StandardNormal

    return StandardNormal(latent_size)


def diagonal_gaussian(latent_size: int, *, per_class: bool = False) -> Prior:
    """A Gaussian with a learned mean and standard deviation per dimension, initially N(0, I).

    KL(q, p) from a diagonal Gaussian has a closed form (Bishop 2006, "Pattern recognition and machine learning",
    exercise 2.13).

    Args:
        latent_size: D.
        per_class: each label has its own Gaussian, p(z given the label); needs `condition.labels = true`.
    """
    from vaeflow.components.learned_priors import DiagonalGaussianPrior

    return DiagonalGaussianPrior(latent_size, per_class=per_class)


def mixture_of_gaussians(
    latent_size: int,
    *,
    components: Annotated[int, Field(ge=2)] = 10,
    spread: Annotated[float, Field(gt=0)] = 1.0,
) -> Prior:
    """A mixture of K Gaussians with learned weights, means and standard deviations (Tomczak and Welling 2018).

    There is no closed form of KL(q, p): samples estimate it.

    Args:
        latent_size: D.
        components: K; for one Gaussian, use `diagonal-gaussian`.
        spread: standard deviation of the initial means, which are random; the initial Gaussians have variance 1 and
            equal weights.
    """
    from vaeflow.components.learned_priors import MixtureOfGaussiansPrior

    return MixtureOfGaussiansPrior(latent_size, components, spread)


def vamp(
    latent_size: int,
    *,
    components: Annotated[int, Field(ge=1)] = 100,
    start: Literal["noise", "examples"] = "noise",
    mean: float = 0.5,
    spread: Annotated[float, Field(gt=0)] = 0.1,
) -> Prior:
    """The VampPrior: a mixture of the posteriors of K learned pseudo-inputs (Tomczak and Welling 2018).

    Pseudo-inputs are weights of x's shape, without limits to their values. They pass through the model's own encoder
    and posterior as in evaluations (no dropout, batch normalization by moving averages). There is no closed form of
    KL(q, p): samples estimate it. The posterior must be `diagonal-gaussian`.

    Args:
        latent_size: D.
        components: K; each step encodes K pseudo-inputs per microbatch.
        start: of the pseudo-inputs: `noise` around `mean`, or training `examples` that the seed chooses, as the model
            gets them, with the same noise around them.
        mean: of the initial pseudo-inputs that are noise; 0.5 suits pixels in [0, 1].
        spread: the noise's standard deviation.
    """
    from vaeflow.components.vamp_prior import VampPrior

    del latent_size  # that of the posterior
    return VampPrior(components, mean, spread, from_examples=start == "examples")

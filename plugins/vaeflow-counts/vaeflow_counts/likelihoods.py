"""Likelihoods of counts that vary more than Poisson variables; they import TensorFlow when they are built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from vaeflow.contracts import Likelihood

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def negative_binomial(
    x_shape: tuple[int, ...], *, counts_per_unit: Positive = 1.0, dispersion: Positive = 1.0
) -> Likelihood:
    """Independent negative binomial variables over counts, from logarithms of means, with `binarization=none`.

    The variance is mu + mu^2 / theta. Each element has a theta of its own, which is learned; a large one is a Poisson
    variable.

    Args:
        x_shape: X; the decoder returns one log mean per element.
        counts_per_unit: the count that x = 1 stands for: 1 if float data are counts (with `dataset.check=false`), 255
            if bytes are counts, because bytes are divided by 255.
        dispersion: theta at the start.
    """
    from vaeflow_counts.heads import DispersedCounts

    return DispersedCounts(x_shape, counts_per_unit, dispersion, zeros=False)


def zero_inflated_negative_binomial(
    x_shape: tuple[int, ...], *, counts_per_unit: Positive = 1.0, dispersion: Positive = 1.0
) -> Likelihood:
    """The negative binomial with additional zeros, which the decoder gives a probability.

    Args:
        x_shape: X; the decoder returns one log mean and one logit of an additional zero per element.
        counts_per_unit: the count that x = 1 stands for, see `negative-binomial`.
        dispersion: theta at the start.
    """
    from vaeflow_counts.heads import DispersedCounts

    return DispersedCounts(x_shape, counts_per_unit, dispersion, zeros=True)

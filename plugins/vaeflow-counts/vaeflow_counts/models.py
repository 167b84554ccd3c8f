"""The build function of the model; it imports TensorFlow when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import keras

    from vaeflow.contracts import ModelContext

Width = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def counts(
    context: ModelContext,
    *,
    hidden: tuple[Width, ...] = (128,),
    zero_inflation: bool = False,
    dispersion: Positive = 1.0,
    counts_per_unit: Positive = 1.0,
) -> keras.Model:
    """Counts of features as shares of an example's total, negative binomial (scVI; Lopez et al. 2018).

    The total of an example, its library size, is taken as known: p(x given z) is a distribution of the counts given
    their total's scale, and the ELBO is that of log p(x given the total). With `condition.labels=true` the labels are
    batches (of cells, of sensors): encoder and decoder get them, so that z need not hold them.

    Args:
        context: shape of the examples [G], D, and the number of batches.
        hidden: units of the layers of encoder and decoder.
        zero_inflation: whether there are additional zeros.
        dispersion: theta of each feature at the start.
        counts_per_unit: the count that x = 1 stands for; 255 if bytes are counts.

    Raises:
        UsageError: if an example is not a vector.
    """
    if len(context.x_shape) != 1:
        raise UsageError(
            f"model 'counts' takes vectors of counts [G], but an example has shape {list(context.x_shape)}"
        )
    from vaeflow_counts.heads import DispersedCounts
    from vaeflow_counts.model import CountsModel

    return CountsModel(
        features=context.x_shape[0],
        latent_size=context.latent_size,
        batches=context.classes,
        hidden=hidden,
        likelihood=DispersedCounts(context.x_shape, counts_per_unit, dispersion, zeros=zero_inflation),
    )

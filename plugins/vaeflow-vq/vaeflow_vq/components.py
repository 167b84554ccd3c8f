"""The build functions; they import TensorFlow when they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import keras

    from vaeflow.contracts import Metric, ModelContext

Count = Annotated[int, Field(ge=1)]
CodeCount = Annotated[int, Field(ge=2, le=1 << 16)]
Levels = Annotated[int, Field(ge=0, le=6)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
CodePriorName = Literal["uniform", "independent", "autoregressive"]


def vq(
    context: ModelContext,
    *,
    codes: CodeCount = 64,
    code_size: Count = 16,
    halvings: Levels = 2,
    width: Count = 32,
    commitment: Weight = 0.25,
    decay: Decay = 0.99,
    restart_below: Share = 0.05,
    prior: CodePriorName = "autoregressive",
    prior_width: Count = 32,
    prior_layers: Count = 3,
) -> keras.Model:
    """A map of codes from a codebook of averages (VQ-VAE; van den Oord, Vinyals and Kavukcuoglu 2017).

    Args:
        context: shape of the examples, and the config's likelihood.
        codes: K, the vectors of the codebook.
        code_size: D, the size of each vector.
        halvings: how often the encoder halves height and width; the map of codes is that small.
        width: channels of the convolutions.
        commitment: weight of the squared distance of the encoder's outputs from their codes, in nats.
        decay: of the averages that are the codebook, per step.
        restart_below: a code whose use is below this share of the average use is drawn again.
        prior: of the map of codes; it is trained beside the rest, without an effect on it.
        prior_width: channels of the autoregressive prior.
        prior_layers: masked layers of the autoregressive prior after the first.

    Raises:
        UsageError: for labels, examples that are no images [H, W, C], or a size that can't be halved so often.
    """
    _require_images(context, halvings)
    from vaeflow_vq.codebook import Codebook
    from vaeflow_vq.model import VectorQuantized
    from vaeflow_vq.networks import decoder, encoder
    from vaeflow_vq.priors import code_prior

    likelihood = context.parts.likelihood(context.x_shape)
    height, breadth, _ = context.x_shape
    grid = (height >> halvings, breadth >> halvings)
    if likelihood.parameters_shape[:2] != (height, breadth):
        raise UsageError(
            f"model 'vq': the likelihood's parameters have shape {likelihood.parameters_shape}, but this model decodes "
            f"to [{height}, {breadth}, ...]; try likelihood=bernoulli"
        )
    return VectorQuantized(
        encoder=encoder(context.x_shape, code_size, halvings=halvings, width=width),
        codebook=Codebook(codes, code_size, positions=grid[0] * grid[1], decay=decay, restart_below=restart_below),
        prior=code_prior(prior, grid, codes, width=prior_width, layers=prior_layers),
        decoder=decoder((*grid, code_size), likelihood.parameters_shape, halvings=halvings, width=width),
        likelihood=likelihood,
        x_shape=context.x_shape,
        commitment=commitment,
    )


def _require_images(context: ModelContext, halvings: int) -> None:
    if context.classes:
        raise UsageError("model 'vq' takes no labels: omit condition.labels")
    if len(context.x_shape) != 3:
        raise UsageError(f"model 'vq' takes images [H, W, C], but an example has shape {list(context.x_shape)}")
    height, width, _ = context.x_shape
    if height % (1 << halvings) or width % (1 << halvings):
        raise UsageError(f"model 'vq': {height} x {width} can't be halved {halvings} times; set model.halvings lower")


def code_perplexity() -> Metric:
    """The perplexity of the codes' average use in training: from 1 (one code) to K (all equally); for model `vq`."""
    from vaeflow_vq.metrics import perplexity

    return perplexity

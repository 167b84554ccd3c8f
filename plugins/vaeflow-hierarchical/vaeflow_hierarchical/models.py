"""The build functions of the models: their options, and what they refuse. TensorFlow is imported only inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import LatentVariableModel, ModelContext

Size = Annotated[int, Field(ge=1)]
Normalization = Literal["none", "batch"]


@dataclass(frozen=True)
class Level:
    """One layer of latents and its dense networks.

    Attributes:
        latent_size: latents of the layer.
        hidden: units of each hidden layer, of the network from below to these latents and of the one from these
            latents to below; without hidden layers both are linear.
    """

    latent_size: Size
    hidden: tuple[Size, ...] = ()


BURDA = (Level(100, (200, 200)), Level(50, (100, 100)))
LADDER = (Level(64, (512,)), Level(32, (256,)), Level(16, (128,)), Level(8, (64,)), Level(4, (64,)))


def stochastic_layers(
    context: ModelContext,
    *,
    levels: tuple[Level, ...] = BURDA,
    activation: str = "tanh",
    normalization: Normalization = "none",
) -> LatentVariableModel:
    """Layers of Gaussian latents with dense networks between them, inferred from the bottom up (Burda et al. 2015).

    p(z_L) p(z_L-1 given z_L) ... p(x given z_1) and q(z_1 given x) q(z_2 given z_1) ... q(z_L given z_L-1). The
    defaults are the two layers of the article, 100 and 50 latents. With `condition.labels = true`, labels are beside
    the inputs of each network, and p(z_L) is standard normal for each of them.

    Args:
        context: of the model.
        levels: from x up, one or more.
        activation: name of a Keras activation, of the hidden layers.
        normalization: of each hidden layer, before the activation; `batch` normalizes over a microbatch, and over its
            samples of z.

    Raises:
        UsageError: if there is no level.
    """
    _require("stochastic-layers", levels)
    from vaeflow_hierarchical.stochastic_layers import StochasticLayers

    likelihood = context.parts.likelihood(context.x_shape)
    return StochasticLayers(
        context.x_shape, likelihood, levels, activation, batch_norm=normalization == "batch", classes=context.classes
    )


def ladder(
    context: ModelContext,
    *,
    levels: tuple[Level, ...] = LADDER,
    activation: str = "leaky_relu",
    normalization: Normalization = "batch",
) -> LatentVariableModel:
    """The ladder VAE (Sonderby et al. 2016): inference from the top down, on features computed from the bottom up.

    The posterior of a layer combines the prior given the layer above with a Gaussian from the features of x, weighted
    by their precisions. The defaults are the five layers of the article. With `condition.labels = true`, labels are
    beside x and beside the latents that priors and p(x given z_1) depend on; p(z_L) is standard normal.

    Args:
        context: of the model.
        levels: from x up, one or more.
        activation: name of a Keras activation, of the hidden layers; Keras's leaky_relu has the slope 0.2.
        normalization: of each hidden layer, before the activation; `batch` normalizes over a microbatch, and over its
            samples of z in the networks from the top down.

    Raises:
        UsageError: if there is no level.
    """
    _require("ladder", levels)
    from vaeflow_hierarchical.ladder import Ladder

    likelihood = context.parts.likelihood(context.x_shape)
    return Ladder(
        context.x_shape, likelihood, levels, activation, batch_norm=normalization == "batch", classes=context.classes
    )


def residual_hierarchy(
    context: ModelContext, *, groups: tuple[Size, ...] = (2, 2), channels: Size = 4, width: Size = 32
) -> LatentVariableModel:
    """Groups of latent maps in a residual network from the top down (in the manner of NVAE and VDVAE).

    The posterior of a group is a residual normal, relative to its prior: mean and log-variance are sums of the prior's
    and of a part computed from x (Vahdat and Kautz 2020). The layers are 3 by 3 convolutions in bottleneck blocks
    without normalization, whose last weights shrink with the depth (Child 2021). With `condition.labels = true`, labels
    are maps beside x, and the network from the top down begins with a learned map of the class.

    Args:
        context: of the model.
        groups: groups of latents per resolution, from the coarsest up to half the sides of x; each resolution has twice
            the sides of the one before.
        channels: of each group's map.
        width: channels of the residual network.

    Raises:
        UsageError: if x is not an image whose sides can be halved that often.
    """
    _require("residual-hierarchy", groups, "groups")
    shape, factor = context.x_shape, 2 ** len(groups)
    if len(shape) != 3 or shape[0] % factor or shape[1] % factor:
        raise UsageError(
            f"model 'residual-hierarchy' with {len(groups)} resolutions needs images (height, width, channels) with "
            f"sides divisible by {factor}, but an example has shape {shape}; use fewer entries in groups, or the "
            "transform 'pad'"
        )
    from vaeflow_hierarchical.residual_hierarchy import ResidualHierarchy

    likelihood = context.parts.likelihood(shape)
    if likelihood.parameters_shape[:2] != tuple(shape[:2]):
        raise UsageError(
            f"model 'residual-hierarchy' computes parameters for each pixel, but the likelihood needs the shape "
            f"{likelihood.parameters_shape} for images of shape {shape}"
        )
    return ResidualHierarchy(shape, likelihood, groups, channels, width, classes=context.classes)


def _require(name: str, levels: tuple[object, ...], option: str = "levels") -> None:
    if not levels:
        raise UsageError(f"model {name!r}: {option} is empty; it needs one entry or more")

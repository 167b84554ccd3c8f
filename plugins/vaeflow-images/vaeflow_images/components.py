"""The build functions; they import TensorFlow when they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import keras

    from vaeflow.contracts import Likelihood, Metric, ModelContext, Objective

Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


def encoder(x_shape: tuple[int, ...], *, widths: Widths = (32, 64, 128), blocks: Count = 1) -> keras.Model:
    """Residual convolutions that halve an image after each width but the last, then a mean over positions.

    Args:
        x_shape: [H, W, C].
        widths: channels at each size.
        blocks: residual blocks at each size.

    Raises:
        UsageError: if examples are no images, or a size can't be halved.
    """
    require_sizes("encoder 'residual-convolutions'", x_shape, len(widths) - 1)
    from vaeflow_images import networks

    return networks.features(x_shape, widths, blocks)


def decoder(
    latent_size: int, output_shape: tuple[int, ...], *, widths: Widths = (128, 64, 32), blocks: Count = 1
) -> keras.Model:
    """A dense layer to a small map, and residual convolutions that double it after each width but the last.

    Args:
        latent_size: D.
        output_shape: [H, W, ...], the likelihood's parameters of an example.
        widths: channels at each size.
        blocks: residual blocks at each size.

    Raises:
        UsageError: if examples are no images, or a size can't be halved.
    """
    require_sizes("decoder 'residual-convolutions'", output_shape, len(widths) - 1)
    from vaeflow_images import networks

    return networks.from_vector(latent_size, output_shape, widths, blocks)


def autoencoder_kl(
    context: ModelContext, *, channels: Count = 4, widths: Widths = (32, 64, 64), blocks: Count = 1
) -> keras.Model:
    """Latents that are a map [h, w, C], with a factor of 2**(len(widths) - 1) to the image (Rombach et al. 2022).

    Its q(z given x) is a diagonal Gaussian, its prior standard normal. The latents are the images that a second model
    can be trained on, as in latent diffusion.

    Args:
        context: shape of the examples, and the config's likelihood.
        channels: C of the latents.
        widths: channels of the convolutions at each size; three are a factor of 4.
        blocks: residual blocks at each size.

    Raises:
        UsageError: for labels, or if examples are no images, or a size can't be halved.
    """
    if context.classes:
        raise UsageError("model 'autoencoder-kl' takes no labels: omit condition.labels")
    require_sizes("model 'autoencoder-kl'", context.x_shape, len(widths) - 1)
    from vaeflow_images.autoencoder import AutoencoderKL

    return AutoencoderKL(context.parts.likelihood(context.x_shape), context.x_shape, channels, widths, blocks)


def beta_binomial(x_shape: tuple[int, ...], *, levels: Annotated[int, Field(ge=2)] = 256) -> Likelihood:
    """Independent beta-binomial variables over K levels of x in [0, 1], with `binarization=none`.

    The probability of a level has a beta distribution, so its variance is free, also near 0 and 1.

    Args:
        x_shape: X; the decoder returns log alpha and log beta for each element.
        levels: K; 256 for bytes.
    """
    from vaeflow_images.beta_binomial import BetaBinomialLikelihood

    return BetaBinomialLikelihood(x_shape, levels)


def adversarial(
    *,
    weight: Weight = 10.0,
    start: Steps = 0,
    widths: Widths = (32, 64),
    learning_rate: Rate = 1e-4,
    features: str | None = None,
    features_sha256: str | None = None,
    perceptual_weight: Weight = 1.0,
) -> Objective:
    """The negative ELBO, and a patch discriminator's verdict on the expected x (hinge loss; Esser et al. 2021).

    The discriminator is a second player. It is trained from the first step. The KL schedule weighs the divergence. With
    `features`, a perceptual distance of x and the expected x is added (Zhang et al. 2018), in nats by its weight.

    Args:
        weight: of the verdict, in nats per unit of the discriminator's mean output.
        start: the step from which the model is trained against it.
        widths: channels of the discriminator's convolutions, each of which halves the image.
        learning_rate: of the discriminator's Adam.
        features: path of a .keras file, a network from images [B, H, W, C] to one or several maps of features. It is
            loaded in Keras's safe mode and not trained. The weights of the run depend on it.
        features_sha256: of that file; another file is an error.
        perceptual_weight: of the perceptual distance, in nats.

    Raises:
        UsageError: if `features` can't be loaded, or has another sum.
    """
    from vaeflow_images.discriminator import Adversarial
    from vaeflow_images.perceptual import Perceptual

    perceptual = None if features is None else Perceptual(features, features_sha256)
    return Adversarial(weight, start, widths, learning_rate, perceptual=perceptual, perceptual_weight=perceptual_weight)


def bits_per_dimension() -> Metric:
    """The negative ELBO in bits per element of x, the figure of the literature for likelihoods of levels."""
    from vaeflow_images.beta_binomial import bits_per_dimension as bits

    return bits


def require_sizes(label: str, shape: tuple[int, ...], halvings: int) -> None:
    """Require images [H, W, ...] that can be halved.

    Raises:
        UsageError: if they are not.
    """
    if len(shape) != 3:
        raise UsageError(f"{label} takes images [H, W, C], but an example has shape {list(shape)}")
    height, width, _ = shape
    if height % (1 << halvings) or width % (1 << halvings):
        raise UsageError(f"{label}: {height} x {width} can't be halved {halvings} times; use fewer widths")

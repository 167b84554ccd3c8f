"""Built-in models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeflow.contracts import LatentVariableModel, ModelContext


def single_layer(context: ModelContext) -> LatentVariableModel:
    """The article's model: one vector z of latents, from the config's five components.

    The config's encoder, posterior, prior, decoder and likelihood make it. With `condition.labels = true`, labels are
    appended to x (as maps along the last axis) for the encoder and to z for the decoder, and a prior with a method
    `given` gets them. A prior with a method `connect` gets the model's posteriors.
    """
    from vaeflow.model.vae import VAE

    parts, x_shape, size = context.parts, context.x_shape, context.latent_size
    likelihood = parts.likelihood(x_shape)  # initial weights depend on the order in which parts are built
    return VAE(
        x_shape=x_shape,
        latent_size=size,
        encoder=parts.encoder((*x_shape[:-1], x_shape[-1] + context.classes)),
        posterior=parts.posterior(size),
        prior=parts.prior(size),
        decoder=parts.decoder(size + context.classes, likelihood.parameters_shape),
        likelihood=likelihood,
        classes=context.classes,
    )

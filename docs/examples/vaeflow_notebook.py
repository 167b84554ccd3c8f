"""What is left of a notebook's model as a plugin: its two networks."""

from vaeflow import Component, hookimpl


def encoder(x_shape: tuple[int, ...], *, units: int = 256):
    """The notebook's encoder without its last layer: x [B, *X] to features [B, units]."""
    from keras import Sequential, layers

    return Sequential([layers.Input(x_shape), layers.Flatten(), layers.Dense(units, "relu")])


def decoder(latent_size: int, output_shape: tuple[int, ...], *, units: int = 256):
    """The notebook's decoder: z [B, D] to logits [B, *P]."""
    from math import prod

    from keras import Sequential, layers

    full = "float32"  # for what touches z, and for the logits
    return Sequential(
        [
            layers.Input((latent_size,)),
            layers.Dense(units, "relu", dtype=full),
            layers.Dense(prod(output_shape), dtype=full),
            layers.Reshape(output_shape, dtype=full),
        ]
    )


@hookimpl
def vaeflow_components():
    yield Component("encoder", "notebook", encoder)
    yield Component("decoder", "notebook", decoder)
